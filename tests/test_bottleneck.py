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


def test_pool_of_a_block_that_keeps_the_size():
    assert isinstance(Bottleneck(64, 16).pool, nn.Identity)
    pool = Bottleneck(64, 16, always_pool=True).pool
    assert (pool.kernel_size, pool.stride, pool.padding) == (3, 1, 1)
    assert pool.count_include_pad  # zeros count: towards the border the average fades, as in the published networks


def test_dilation_spreads_the_convolution_and_keeps_the_size():
    torch.manual_seed(0)
    block = Bottleneck(64, 16, dilation=3).eval()
    x = torch.randn(1, 64, 9, 9)
    block.conv2.fc2.weight.data.zero_()  # attention reaches everywhere
    moved = x.clone()
    moved[..., 4, 4] += 1
    changed = (block(moved) != block(x)).any(dim=1)[0].nonzero().tolist()
    assert changed == [[row, column] for row in (1, 4, 7) for column in (1, 4, 7)]


@pytest.mark.parametrize("pool_first", [False, True])
def test_dropblock_acts_behind_both_norms_and_the_attention(pool_first):
    block = Bottleneck(64, 16, stride=2, pool_first=pool_first, dropblock=0.1)
    seen = []
    block.dropblock.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    inner = {}
    for name in ("bn1", "conv2", "bn3"):
        block.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: inner.update({name: output.detach()})
        )
    block(torch.randn(2, 64, 8, 8))
    for found, name in zip(seen, ("bn1", "conv2", "bn3"), strict=True):
        assert torch.equal(found, inner[name])
    assert block.dropblock.block_size == 3


def test_stochastic_depth_drops_the_branch_and_keeps_the_shortcut():
    torch.manual_seed(0)
    block = Bottleneck(64, 16, stochastic_depth=0.6)
    x = torch.rand(40, 64, 4, 4)
    branch = []
    block.stochastic_depth.register_forward_hook(lambda module, inputs, output: branch.append(inputs[0]))
    out = block(x)
    skipped = (out == x).flatten(1).all(dim=1)
    assert 14 < skipped.sum() < 34
    torch.testing.assert_close(out[~skipped], (branch[0][~skipped] / 0.4 + x[~skipped]).relu())
    assert not (block.eval()(x) == x).flatten(1).all(dim=1).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"planes": 0}, r"planes \(=0\) must be an integer of at least 1"),
        ({"stride": 0}, r"stride \(=0\) must be an integer of at least 1"),
        ({"radix": 0}, r"radix \(=0\) must be an integer of at least 1"),
        ({"dilation": 0}, r"dilation \(=0\) must be an integer of at least 1"),
        ({"dropblock": 1.0}, r"dropblock \(=1\) must be below 1"),
        ({"stochastic_depth": -1}, r"stochastic_depth \(=-1\) must be a finite number at least 0"),
        ({"planes": 1, "base_width": 8}, r"planes \(=1\) \* base_width \(=8\) must be at least 64"),
        ({"planes": 15}, r"in_channels \(=15\) must be divisible by radix \* cardinality \(=2\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Bottleneck(**({"in_channels": 64, "planes": 16} | arguments))
