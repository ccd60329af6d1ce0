import pytest
import torch
from timm.layers.split_attn import SplitAttn
from torch import nn

from resnest_edu import CardinalityMajorSplitAttention, RadixMajorSplitAttention
from resnest_edu.network.layouts import cardinality_major_order, to_cardinality_major
from resnest_edu.split_attention import attention_width, record_attention
from tests.randomize import randomize
from tests.refused import assert_refused

LAYOUTS = [RadixMajorSplitAttention, CardinalityMajorSplitAttention]
RADIX_CARDINALITY = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 2), (2, 4)]


@pytest.mark.parametrize(("radix", "cardinality"), RADIX_CARDINALITY)
def test_equals_timm_on_the_same_weights(radix, cardinality):
    torch.manual_seed(10 * radix + cardinality)
    options = {"stride": 2, "dilation": 2}
    ours = RadixMajorSplitAttention(32, 32, radix=radix, cardinality=cardinality, **options)
    theirs = SplitAttn(32, 32, 3, padding=2, radix=radix, groups=cardinality, norm_layer=nn.BatchNorm2d, **options)
    randomize(theirs)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(4, 32, 9, 7)
    other, moved = to_cardinality_major(ours), cardinality_major_order(x, radix, cardinality)
    for training in (False, True):  # training moves the running statistics, and so comes last
        expected = theirs.train(training)(x)
        for block, given in ((ours, x), (other, moved)):
            torch.testing.assert_close(block.train(training)(given), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("radix", "cardinality"), RADIX_CARDINALITY)
def test_attention_is_a_distribution_over_splits_that_is_not_constant(radix, cardinality):
    block = randomize(RadixMajorSplitAttention(16, 16, radix=radix, cardinality=cardinality).eval())
    splits = block.split(torch.randn(3, 16, 6, 6))
    assert splits.shape == (3, radix, 16, 6, 6)
    attention = block.attention(splits)
    assert attention.shape == (3, radix, 16, 1, 1)
    assert attention.std() > 1e-3
    if radix > 1:
        torch.testing.assert_close(attention.sum(1), torch.ones(3, 16, 1, 1))
    else:
        assert ((attention > 0) & (attention < 1)).all()


def test_the_attention_of_a_cardinal_group_is_a_distribution_too():
    group = randomize(CardinalityMajorSplitAttention(16, 16, radix=2, cardinality=2).eval()).groups[1]
    first, second = group.attention([torch.rand(3, 8, 4, 4), torch.rand(3, 8, 4, 4)])
    assert first.shape == second.shape == (3, 8, 1, 1)
    torch.testing.assert_close(first + second, torch.ones(3, 8, 1, 1))
    assert (first - second).std() > 1e-3


def test_a_cardinal_group_attends_to_its_own_context_only():
    block = randomize(RadixMajorSplitAttention(16, 16, radix=2, cardinality=2).eval())
    splits = block.split(torch.randn(3, 16, 6, 6))
    moved = splits.clone()
    moved[:, :, :8] += 1  # cardinal group 0, in both splits
    change = (block.attention(moved) - block.attention(splits)).abs().amax(dim=(0, 1, 3, 4))
    assert change[:8].max() > 1e-3
    assert change[8:].max() == 0


@pytest.mark.parametrize(("radix", "cardinality"), RADIX_CARDINALITY)
def test_the_paths_of_the_cardinality_major_block_are_apart(radix, cardinality):
    """Moving one split's input changes its own cardinal group's output, and no other's."""
    block = randomize(CardinalityMajorSplitAttention(32, 16, radix=radix, cardinality=cardinality).eval())
    x = torch.randn(2, 32, 5, 5)
    moved = x.clone()
    share = 32 // (radix * cardinality)
    moved[:, -share:] += 1  # the last split of the last cardinal group
    change = (block(moved) - block(x)).abs().amax(dim=(0, 2, 3)).unflatten(0, (cardinality, -1)).amax(1)
    assert change[-1] > 1e-3
    assert (change[:-1] == 0).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("stride", "kernel_size", "dilation"), [(1, 3, 1), (2, 3, 1), (2, 5, 1), (1, 3, 2), (1, 1, 1)])
def test_output_size(layout, stride, kernel_size, dilation):
    block = layout(8, 12, stride=stride, kernel_size=kernel_size, dilation=dilation)
    assert block(torch.randn(2, 8, 9, 6)).shape == (2, 12, -(-9 // stride), -(-6 // stride))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bare_block_is_two_splits_of_one_group_with_a_3x3_kernel(layout):
    defaults = {"radix": 2, "cardinality": 1, "kernel_size": 3, "stride": 1, "dilation": 1, "reduction": 4}
    block = layout(72, 36)
    assert block.arguments == {"in_channels": 72, "channels": 36} | defaults
    assert (block.radix, block.cardinality, block.width) == (2, 1, 36)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("radix", "cardinality", "reduction"), [(1, 1, 4), (2, 1, 4), (2, 2, 2), (4, 4, 4), (1, 4, 8)])
def test_number_of_parameters(layout, radix, cardinality, reduction):
    in_channels, channels = 96, 48
    width = max(in_channels * radix // reduction, 32)
    convolution = radix * channels * in_channels // (radix * cardinality) * 9 + 2 * radix * channels
    dense = width * channels // cardinality + width + 2 * width + radix * channels * width // cardinality
    block = layout(in_channels, channels, radix=radix, cardinality=cardinality, reduction=reduction)
    assert sum(p.numel() for p in block.parameters()) == convolution + dense + radix * channels


@pytest.mark.parametrize(
    ("in_channels", "radix", "reduction", "width"), [(64, 2, 4, 32), (66, 2, 4, 33), (8, 1, 4, 32), (256, 1, 8, 32)]
)
def test_attention_width(in_channels, radix, reduction, width):
    assert attention_width(in_channels, radix, reduction) == width


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bad_arguments(layout):
    rows = [
        ({"in_channels": 0}, r"^in_channels \(=0\) must be an integer of at least 1$"),
        ({"channels": 2.5}, r"^channels \(=2.5\) must be an integer of at least 1$"),
        ({"radix": 0}, r"^radix \(=0\) must be an integer of at least 1$"),
        ({"cardinality": -1}, r"^cardinality \(=-1\) must be an integer of at least 1$"),
        ({"kernel_size": 0}, r"^kernel_size \(=0\) must be an integer of at least 1$"),
        ({"stride": 0}, r"^stride \(=0\) must be an integer of at least 1$"),
        ({"dilation": 0}, r"^dilation \(=0\) must be an integer of at least 1$"),
        ({"reduction": 0}, r"^reduction \(=0\) must be an integer of at least 1$"),
        ({"kernel_size": 4}, r"^kernel_size \(=4\) must be odd, so that the padding is symmetric$"),
        (
            {"in_channels": 30, "cardinality": 2},
            r"^in_channels \(=30\) must be divisible by radix \* cardinality \(=4\)$",
        ),
        ({"channels": 31, "cardinality": 2}, r"^channels \(=31\) must be divisible by cardinality \(=2\)$"),
        (
            {"in_channels": 72, "channels": 72, "radix": 1, "cardinality": 3, "reduction": 72 * 2},
            r"^attention width \(=32\) must be divisible by cardinality \(=3\)$",
        ),
    ]
    assert_refused(lambda given: layout(**({"in_channels": 32, "channels": 32} | given)), rows)


def test_recorded_attention_is_what_the_forward_uses():
    torch.manual_seed(0)
    block = randomize(RadixMajorSplitAttention(8, 8, radix=2))
    model = nn.Sequential(nn.Conv2d(3, 8, 1), block).eval()
    x = torch.randn(2, 3, 5, 5)
    recorded = record_attention(model, x)
    assert list(recorded) == ["1"]
    assert recorded["1"].shape == (2, 2, 8)
    assert not recorded["1"].requires_grad
    splits = block.split(model[0](x))
    torch.testing.assert_close((recorded["1"][..., None, None] * splits).sum(1), model(x))
    assert not block._forward_pre_hooks


def test_recording_leaves_no_hook_behind_when_the_model_fails():
    block = RadixMajorSplitAttention(8, 8)
    with pytest.raises(RuntimeError):
        record_attention(nn.Sequential(block), torch.randn(2, 3, 5, 5))
    assert not block._forward_pre_hooks


def test_recording_from_a_model_without_radix_major_attention():
    with pytest.raises(
        ValueError, match=r"^model \(=Sequential\) must contain split attention in the radix-major layout$"
    ):
        record_attention(nn.Sequential(CardinalityMajorSplitAttention(8, 8)), torch.randn(2, 8, 5, 5))
