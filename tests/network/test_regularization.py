import pytest
import torch
from torch import nn
from torchvision.ops import drop_block2d

from resnest_edu import CardinalityMajorSplitAttention, DropBlock, RectifiedConv2d, create_model, rectify
from tests.refused import assert_refused


def test_dropblock_is_torchvisions_on_the_same_random_numbers(monkeypatch):
    x = torch.randn(3, 5, 9, 8)
    # torchvision draws zeros and ones; so do we, but by comparing uniform numbers with a rate that may be a tensor
    monkeypatch.setattr(torch.Tensor, "bernoulli_", lambda zeros, p: zeros.copy_(torch.rand(zeros.shape) < p))
    block = DropBlock(0.2)
    torch.manual_seed(1)
    ours = block(x)
    torch.manual_seed(1)
    torch.testing.assert_close(ours, drop_block2d(x, 0.2, 3))


@pytest.mark.parametrize("probability", [0.05, 0.2])
@pytest.mark.parametrize("block_size", [1, 3, 5])
def test_dropblock_drops_about_its_share_in_blocks_and_keeps_the_mean(probability, block_size):
    torch.manual_seed(0)
    out = DropBlock(probability, block_size)(torch.ones(64, 16, 28, 28))
    dropped = (out == 0).float()
    assert out.mean().item() == pytest.approx(1, abs=1e-4)
    # Blocks that overlap drop a little less than the share that the formula aims at.
    assert 0.85 * probability < dropped.mean().item() < 1.07 * probability
    neighbour = dropped[..., 1:][dropped[..., :-1] == 1].mean().item()  # is the value to the right dropped too?
    assert neighbour == pytest.approx((block_size - 1 + probability) / block_size, abs=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dropblock_in_half_precision_keeps_the_mean(dtype):
    torch.manual_seed(0)
    x = torch.ones(16, 512, 14, 14, dtype=dtype)  # more values than half precision can count
    out = DropBlock(0.1)(x)
    assert out.dtype == dtype
    assert out.float().mean().item() == pytest.approx(1, abs=0.004)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 7), (3, 2)])
def test_dropblock_on_maps_smaller_than_a_block(size):
    torch.manual_seed(0)
    out = DropBlock(0.3)(torch.ones(200, 20, *size))
    assert out.shape[2:] == size
    assert 0.15 < (out == 0).float().mean().item() < 0.4


def test_dropblock_that_drops_everything_gives_zeros():
    torch.manual_seed(0)
    assert DropBlock(0.999)(torch.ones(1, 1, 3, 3)).eq(0).all()


def test_the_probability_may_change_and_is_no_part_of_the_state():
    torch.manual_seed(0)
    block, x = DropBlock(0.0), torch.ones(32, 16, 14, 14)
    for probability in (0.3, 0.05):
        block.probability = probability
        assert block.probability == probability
        assert 0.85 * probability < (block(x) == 0).float().mean().item() < 1.07 * probability
    with pytest.raises(ValueError, match=r"probability \(=1.5\) must be"):
        block.probability = 1.5
    assert block.state_dict() == {}


def test_dropblock_in_evaluation_and_at_zero_does_nothing():
    x = torch.randn(2, 3, 6, 6)
    assert DropBlock(0.5).eval()(x) is x
    block = DropBlock(0.5)
    block.probability = 0.0
    assert block(x).equal(x)
    assert repr(block) == "DropBlock(probability=0.0, block_size=3)"


def test_dropblock_with_bad_arguments():
    rows = [
        ((1.0,), r"probability \(=1\) must be below 1"),
        ((-0.1,), r"probability \(=-0.1\) must be a finite number at least 0 and at most 1"),
        ((0.1, 0), r"block_size \(=0\) must be an integer of at least 1"),
        ((0.1, 2), r"block_size \(=2\) must be odd, so that a block has a centre"),
    ]
    assert_refused(lambda given: DropBlock(*given), rows)


def test_rectified_convolution_of_ones_does_not_fade():
    plain = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.ones_(plain.weight)
    ones = torch.ones(1, 1, 5, 4)
    rectified = RectifiedConv2d(1, 1, 3, padding=1, bias=False)
    rectified.load_state_dict(plain.state_dict())
    factor = rectified(ones) / plain(ones)
    torch.testing.assert_close(rectified(ones), torch.full((1, 1, 5, 4), 9.0))
    assert factor[0, 0, 0, 0].item() == pytest.approx(9 / 4)
    assert factor[0, 0, 0, 1].item() == pytest.approx(9 / 6)
    assert factor[0, 0, 2, 1].item() == pytest.approx(1)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 2), (1, 2, 2), (2, 3, 1)])
def test_rectified_convolution_equals_the_mean_over_the_taps_inside(stride, dilation, groups, bias):
    torch.manual_seed(0)
    conv = RectifiedConv2d(4, 6, 3, stride=stride, padding=dilation, dilation=dilation, groups=groups, bias=bias)
    conv.double()
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64)
    out = conv(x)
    # One output at a time, with the taps outside left out of the sum.
    channels = 4 // groups
    for row, column in ((0, 0), (0, 1), (out.shape[2] - 1, out.shape[3] - 1)):
        total, inside = torch.zeros(2, 6, dtype=torch.float64), 0
        for i in range(3):
            for j in range(3):
                y, z = row * stride + (i - 1) * dilation, column * stride + (j - 1) * dilation
                if 0 <= y < 7 and 0 <= z < 6:
                    inside += 1
                    for group in range(groups):
                        part = x[:, group * channels : (group + 1) * channels, y, z]
                        outputs = slice(group * 6 // groups, (group + 1) * 6 // groups)
                        total[:, outputs] += part @ conv.weight[outputs, :, i, j].T
        expected = total * 9 / inside + (conv.bias if bias else 0)
        torch.testing.assert_close(out[:, :, row, column], expected)


def test_rectify_replaces_the_padded_convolutions_and_nothing_else():
    model = create_model("resnest14").eval()
    before = dict(model.named_parameters())
    padded = {name for name, part in model.named_modules() if isinstance(part, nn.Conv2d) and part.padding != (0, 0)}
    model.layer1[0].conv2.conv.train()
    assert rectify(model) is model
    found = {name for name, part in model.named_modules() if isinstance(part, RectifiedConv2d)}
    assert found == padded
    assert found == {"conv1.0", "conv1.3", "conv1.6"} | {f"layer{i}.0.conv2.conv" for i in range(1, 5)}
    after = dict(model.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert model.layer1[0].conv2.conv.training and not model.layer2[0].conv2.conv.training
    once = dict(model.named_modules())
    assert dict(rectify(model).named_modules()) == once  # a second call finds nothing left to do


@pytest.mark.parametrize(
    "options",
    [{"padding": "same"}, {"padding": 1}, {"padding": 1, "stride": 2, "bias": False}, {"padding": 2, "dilation": 2}],
)
def test_rectify_keeps_the_settings(options):
    conv = nn.Conv2d(2, 2, 3, groups=2, **options)
    x = torch.randn(1, 2, 9, 9)
    rectified = rectify(nn.Sequential(conv))[0]
    torch.testing.assert_close(rectified(x)[..., 2:-2, 2:-2], conv(x)[..., 2:-2, 2:-2])
    assert repr(rectified) == repr(conv).replace("Conv2d", "RectifiedConv2d")


def test_rectify_works_in_the_cardinality_major_layout():
    block = rectify(CardinalityMajorSplitAttention(8, 8, cardinality=2))
    assert sum(isinstance(part, RectifiedConv2d) for part in block.modules()) == 4


@pytest.mark.parametrize(("kernel_size", "padding"), [(1, 1), (3, 3), ((1, 3), (2, 1))])
def test_where_no_tap_is_inside_the_image_nothing_but_the_bias_is_left(kernel_size, padding):
    conv = RectifiedConv2d(2, 3, kernel_size, padding=padding)
    x = torch.randn(1, 2, 5, 5, requires_grad=True)
    out = conv(x)
    torch.testing.assert_close(out[0, :, 0, 0], conv.bias)
    out.square().sum().backward()
    assert out.isfinite().all() and x.grad.isfinite().all() and conv.weight.grad.isfinite().all()


def test_what_cannot_be_rectified():
    padded = {"kernel_size": 3, "padding": 1}
    rows = [
        (nn.Conv2d(1, 1, **padded), r"module \(=Conv2d\) must contain convolutions, not be one"),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding="valid")), r"module \(=Sequential\) must contain a padded"),
        (nn.Sequential(nn.Conv2d(1, 1, 3)), r"module \(=Sequential\) must contain a padded convolution"),
        (nn.Sequential(nn.Conv2d(1, 1, **padded, padding_mode="reflect")), r"\(='reflect'\) must be 'zeros'"),
    ]
    assert_refused(rectify, rows)
