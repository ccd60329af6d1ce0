import pytest
import torch
import torchvision

from resnest_edu import SqueezeExcitation
from tests.refused import assert_refused


@pytest.mark.parametrize(("channels", "reduction"), [(16, 16), (64, 16), (48, 4), (6, 2), (5, 1)])
def test_equals_torchvision_on_the_same_weights(channels, reduction):
    ours = SqueezeExcitation(channels, reduction).double()
    theirs = torchvision.ops.SqueezeExcitation(channels, channels // reduction).double()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(3, channels, 5, 7, dtype=torch.float64, requires_grad=True)
    weights, found = torch.randn_like(x), []
    for block in (ours, theirs):
        found.append([block(x), *torch.autograd.grad((block(x) * weights).sum(), x)])
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)


def test_gate_sees_the_whole_image_and_nothing_but_means():
    block = SqueezeExcitation(8, 2)
    x = torch.randn(2, 8, 4, 4)
    shuffled = x.flatten(2)[:, :, torch.randperm(16)].view_as(x)
    torch.testing.assert_close(block.gate(shuffled), block.gate(x))
    moved = x.clone()
    moved[:, :, 0, 0] += 1
    assert not torch.allclose(block.gate(moved), block.gate(x))
    assert block.gate(x).shape == (2, 8, 1, 1)


def test_parameter_count():
    channels, reduction = 64, 4
    count = sum(parameter.numel() for parameter in SqueezeExcitation(channels, reduction).parameters())
    assert count == 2 * channels**2 // reduction + channels // reduction + channels


def test_bad_arguments():
    rows = [
        ((0,), r"channels \(=0\) must be an integer of at least 1"),
        ((16, 0), r"reduction \(=0\) must be an integer of at least 1"),
        ((16, -4), r"reduction \(=-4\) must be an integer of at least 1"),
        ((30, 4), r"channels \(=30\) must be divisible by reduction \(=4\)"),
        ((8,), r"channels \(=8\) must be divisible by reduction \(=16\)"),
    ]
    assert_refused(lambda given: SqueezeExcitation(*given), rows)
