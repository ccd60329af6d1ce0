import pytest
import torch
from timm.layers.split_attn import SplitAttn
from torch import nn

from resnest_edu import RadixMajorSplitAttention
from resnest_edu.split_attention import record_attention

RADIX_CARDINALITY = [(r, k) for r in (1, 2, 4) for k in (1, 2, 4)]


def randomize(module: nn.Module) -> None:
    """Nothing constant anywhere: constant attention would hide a wrong layout."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if name.endswith("running_var") else tensor.normal_(0, 0.5)


@pytest.mark.parametrize(("radix", "cardinality"), RADIX_CARDINALITY)
@pytest.mark.parametrize("training", [False, True])
def test_equals_timm_on_the_same_weights(radix, cardinality, training):
    torch.manual_seed(10 * radix + cardinality)
    options = {"stride": 2, "dilation": 2}
    ours = RadixMajorSplitAttention(32, 32, radix=radix, cardinality=cardinality, **options)
    theirs = SplitAttn(32, 32, 3, padding=2, radix=radix, groups=cardinality, norm_layer=nn.BatchNorm2d, **options)
    randomize(theirs)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.train(training), theirs.train(training)
    x = torch.randn(4, 32, 9, 7)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("radix", "cardinality"), RADIX_CARDINALITY)
def test_attention_is_a_distribution_over_splits_that_is_not_constant(radix, cardinality):
    block = RadixMajorSplitAttention(16, 16, radix=radix, cardinality=cardinality).eval()
    randomize(block)
    attention = block.attention(block.split(torch.randn(3, 16, 6, 6)))
    assert attention.shape == (3, radix, 16, 1, 1)
    assert attention.std() > 1e-3
    if radix > 1:
        torch.testing.assert_close(attention.sum(1), torch.ones(3, 16, 1, 1))
    else:
        assert ((attention > 0) & (attention < 1)).all()


def test_a_cardinal_group_attends_to_its_own_context_only():
    block = RadixMajorSplitAttention(16, 16, radix=2, cardinality=2).eval()
    randomize(block)
    splits = block.split(torch.randn(3, 16, 6, 6))
    moved = splits.clone()
    moved[:, :, :8] += 1  # cardinal group 0, in both splits
    change = (block.attention(moved) - block.attention(splits)).abs().amax(dim=(0, 1, 3, 4))
    assert change[:8].max() > 1e-3
    assert change[8:].max() == 0


@pytest.mark.parametrize(("stride", "kernel_size", "dilation"), [(1, 3, 1), (2, 3, 1), (2, 5, 1), (1, 3, 2), (1, 1, 1)])
def test_output_size(stride, kernel_size, dilation):
    block = RadixMajorSplitAttention(8, 12, stride=stride, kernel_size=kernel_size, dilation=dilation)
    assert block(torch.randn(2, 8, 9, 6)).shape == (2, 12, -(-9 // stride), -(-6 // stride))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radix": 0}, r"radix \(=0\) must be an integer of at least 1"),
        ({"cardinality": -1}, r"cardinality \(=-1\) must be an integer of at least 1"),
        ({"stride": 0}, r"stride \(=0\) must be an integer of at least 1"),
        ({"kernel_size": 4}, r"kernel_size \(=4\) must be odd"),
        (
            {"in_channels": 30, "cardinality": 2},
            r"in_channels \(=30\) must be divisible by radix \* cardinality \(=4\)",
        ),
        ({"channels": 31, "cardinality": 2}, r"channels \(=31\) must be divisible by cardinality \(=2\)"),
        (
            {"in_channels": 72, "channels": 72, "radix": 1, "cardinality": 3, "reduction": 72 * 2},
            r"attention width \(=32\) must be divisible by cardinality \(=3\)",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RadixMajorSplitAttention(**({"in_channels": 32, "channels": 32} | arguments))


def test_recorded_attention_is_what_the_forward_uses():
    torch.manual_seed(0)
    block = RadixMajorSplitAttention(8, 8, radix=2)
    randomize(block)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), block).eval()
    x = torch.randn(2, 3, 5, 5)
    recorded = record_attention(model, x)
    assert list(recorded) == ["1"]
    assert recorded["1"].shape == (2, 2, 8)
    splits = block.split(model[0](x))
    torch.testing.assert_close((recorded["1"][..., None, None] * splits).sum(1), model(x))
    assert not block._forward_pre_hooks
