import re

import pytest
import torch
from timm.layers import SelectiveKernel as TimmSelectiveKernel
from torch import nn

from resnest_edu import SelectiveKernel
from tests.randomize import randomize
from tests.refused import assert_refused

OURS_TO_TIMM = {
    r"^branches\.(\d+)\.0\.": r"paths.\1.conv.",
    r"^branches\.(\d+)\.1\.": r"paths.\1.bn.",
    r"^fc1\.": "attn.fc_reduce.",
    r"^bn1\.": "attn.bn.",
    r"^fc2\.": "attn.fc_select.",
}


def timm_name(name: str) -> str:
    for ours, theirs in OURS_TO_TIMM.items():
        name = re.sub(ours, theirs, name)
    return name


def oracle(in_channels: int, out_channels: int, *, branches: int, width: int, groups: int, stride: int) -> nn.Module:
    """timm's module, set to the paper's: every branch sees the whole input, through a dilated 3×3 kernel."""
    kernels = [3 + 2 * m for m in range(branches)]
    return TimmSelectiveKernel(
        in_channels, out_channels, kernels, stride, groups=groups, rd_channels=width, keep_3x3=True, split_input=False
    ).double()


def small(**options: int) -> SelectiveKernel:
    block = SelectiveKernel(8, 12, **({"reduction": 2, "min_width": 1, "groups": 2} | options)).double()
    randomize(block)
    return block


def double(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("branches", [2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("training", [False, True])
def test_equals_timm_on_the_same_weights(branches, stride, training):
    torch.manual_seed(10 * branches + stride)
    ours = small(branches=branches, stride=stride)
    theirs = oracle(8, 12, branches=branches, width=6, groups=2, stride=stride)
    theirs.load_state_dict({timm_name(name): tensor for name, tensor in ours.state_dict().items()}, strict=True)
    ours.train(training), theirs.train(training)
    x = double(4, 8, 9, 7).requires_grad_()
    output, expected = ours(x), theirs(x)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-10)

    weights = torch.randn_like(output)
    gradients = torch.autograd.grad((output * weights).sum(), [x, *ours.parameters()])
    by_name = dict(theirs.named_parameters())
    counterparts = [by_name[timm_name(name)] for name, _ in ours.named_parameters()]
    their_gradients = torch.autograd.grad((expected * weights).sum(), [x, *counterparts])
    for gradient, their_gradient in zip(gradients, their_gradients, strict=True):
        torch.testing.assert_close(gradient, their_gradient, rtol=0, atol=1e-9)
    # The statistics of batch norm have moved alike, or stayed.
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, theirs.state_dict()[timm_name(name)], rtol=0, atol=1e-10)


def test_default_configuration_equals_timm():
    torch.manual_seed(0)
    ours = SelectiveKernel(64, 640).double()
    theirs = oracle(64, 640, branches=2, width=40, groups=32, stride=1)
    randomize(ours)
    theirs.load_state_dict({timm_name(name): tensor for name, tensor in ours.state_dict().items()}, strict=True)
    assert ours.fc2.weight.shape == (2 * 640, 40, 1, 1)  # M = 2, d = 640 / 16
    x = double(2, 64, 6, 5)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "options", "width"),
    [
        (256, 1024, {}, 64),  # of the input's channels it would be 32
        (1024, 256, {}, 32),
        (32, 512, {}, 32),
        (32, 528, {"groups": 1}, 33),
        (32, 64, {"reduction": 2, "min_width": 1}, 32),
        (32, 544, {"min_width": 48}, 48),
        (32, 60, {"groups": 2, "reduction": 16, "min_width": 1}, 3),
    ],
)
def test_width_follows_the_output_channels_down_to_the_least_width(in_channels, out_channels, options, width):
    with torch.device("meta"):
        block = SelectiveKernel(in_channels, out_channels, **options)
    assert block.fc1.weight.shape == (width, out_channels, 1, 1)
    assert block.fc2.weight.shape == (2 * out_channels, width, 1, 1)
    assert block.bn1.num_features == width


@pytest.mark.parametrize("branches", [2, 3])
def test_attention_is_a_distribution_over_branches_that_is_not_constant(branches):
    torch.manual_seed(branches)
    block = small(branches=branches).eval()
    attention = block.attention(block.split(double(5, 8, 6, 6)))
    assert attention.shape == (5, branches, 12, 1, 1)
    torch.testing.assert_close(attention.sum(1), torch.ones(5, 12, 1, 1, dtype=torch.float64))
    assert all(attention.std(dim=dim).min() > 1e-4 for dim in (0, 1, 2))  # every weight depends on the image


def test_attention_sees_means_of_the_sum_and_nothing_else():
    torch.manual_seed(0)
    block = small(branches=3).eval()
    splits = block.split(double(2, 8, 4, 4))
    attention = block.attention(splits)
    shuffled = splits.flatten(3)[..., torch.randperm(16)].view_as(splits)
    torch.testing.assert_close(block.attention(shuffled), attention)
    torch.testing.assert_close(block.attention(splits.flip(1)), attention)
    moved = splits.clone()
    moved[:, :, :, 0, 0] += 1
    assert (block.attention(moved) - attention).abs().max() > 1e-3


def test_branch_m_sees_taps_m_pixels_apart():
    torch.manual_seed(0)
    block = small(branches=4).eval()
    image = double(1, 8, 11, 11).requires_grad_()
    for m, split in enumerate(block.split(image).unbind(1), start=1):
        (gradient,) = torch.autograd.grad(split[0, :, 5, 5].sum(), image, retain_graph=True)
        rows, columns = (gradient.abs().sum(dim=(0, 1)) > 0).nonzero(as_tuple=True)
        assert sorted(set(rows.tolist())) == sorted(set(columns.tolist())) == [5 - m, 5, 5 + m]
        assert len(rows) == 9


@pytest.mark.parametrize("branches", [2, 3])
def test_output_size(branches):
    x = double(2, 8, 9, 6)
    for stride in (1, 2, 3):
        block = small(branches=branches, stride=stride)
        height, width = -(-9 // stride), -(-6 // stride)
        assert block.split(x).shape == (2, branches, 12, height, width)
        assert block(x).shape == (2, 12, height, width)


def test_parameters_by_name_and_number():
    block = SelectiveKernel(64, 96, branches=3, reduction=2, groups=4)
    shapes = {name: tuple(parameter.shape) for name, parameter in block.named_parameters()}
    expected = {}
    for m in range(3):
        expected |= {f"branches.{m}.0.weight": (96, 16, 3, 3)}
        expected |= {f"branches.{m}.1.weight": (96,), f"branches.{m}.1.bias": (96,)}
    expected |= {"fc1.weight": (48, 96, 1, 1), "bn1.weight": (48,), "bn1.bias": (48,), "fc2.weight": (288, 48, 1, 1)}
    assert shapes == expected


def test_bad_arguments():
    rows = [
        ({"in_channels": 0}, "in_channels (=0) must be an integer of at least 1"),
        ({"out_channels": -64}, "out_channels (=-64) must be an integer of at least 1"),
        ({"branches": 0}, "branches (=0) must be an integer of at least 1"),
        ({"branches": True}, "branches (=True) must be an integer of at least 1"),
        ({"branches": 1}, "branches (=1) must be at least 2, or nothing is chosen"),
        ({"reduction": 0}, "reduction (=0) must be an integer of at least 1"),
        ({"min_width": 0}, "min_width (=0) must be an integer of at least 1"),
        ({"groups": 0}, "groups (=0) must be an integer of at least 1"),
        ({"stride": 1.5}, "stride (=1.5) must be an integer of at least 1"),
        ({"in_channels": 48}, "in_channels (=48) must be divisible by groups (=32)"),
        ({"out_channels": 80}, "out_channels (=80) must be divisible by groups (=32)"),
    ]
    assert_refused(
        lambda given: SelectiveKernel(**({"in_channels": 64, "out_channels": 64} | given)),
        [(given, f"^{re.escape(message)}$") for given, message in rows],
    )
