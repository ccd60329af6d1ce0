import pytest
import torch
from torch import nn

from resnest_edu import Bottleneck


def test_a_silent_branch_passes_the_shortcut_on():
    block = Bottleneck(64, 16)
    nn.init.zeros_(block.bn3.weight)
    x = torch.rand(2, 64, 5, 5)
    torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize("pool_first", [False, True])
@pytest.mark.parametrize(("stride", "size"), [(1, (7, 6)), (2, (4, 3)), (3, (3, 2))])
def test_output_size(pool_first, stride, size):
    block = Bottleneck(24, 16, stride=stride, pool_first=pool_first)
    assert block(torch.rand(2, 24, 7, 6)).shape == (2, 64, *size)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"planes": 0}, r"planes \(=0\) must be an integer of at least 1"),
        ({"stride": 0}, r"stride \(=0\) must be an integer of at least 1"),
        ({"radix": 0}, r"radix \(=0\) must be an integer of at least 1"),
        ({"planes": 1, "base_width": 8}, r"planes \(=1\) \* base_width \(=8\) must be at least 64"),
        ({"planes": 15}, r"in_channels \(=15\) must be divisible by radix \* cardinality \(=2\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Bottleneck(**({"in_channels": 64, "planes": 16} | arguments))
