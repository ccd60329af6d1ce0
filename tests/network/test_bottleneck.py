import pytest
import torch
from timm.models.resnest import ResNestBottleneck
from torch import nn

from resnest_edu import Bottleneck
from tests.randomize import randomize
from tests.refused import assert_refused


def test_a_silent_branch_passes_the_shortcut_on():
    block = Bottleneck(64, 16)
    nn.init.zeros_(block.bn3.weight)
    x = torch.rand(2, 64, 5, 5)
    torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"stride": 2, "pool_first": True, "radix": 1, "cardinality": 4, "base_width": 24},
        {"radix": 4, "cardinality": 2, "base_width": 40},
        {"dilation": 2, "always_pool": True},
    ],
)
def test_equals_timms_block_at_an_odd_size(options):
    ours = randomize(Bottleneck(48, 64, **options)).double().eval()
    stride = options.get("stride", 1)
    theirs = ResNestBottleneck(
        48,
        64,
        stride=stride,
        downsample=nn.Sequential(
            nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(48, 256, 1, bias=False),
            nn.BatchNorm2d(256),
        ),
        radix=options.get("radix", 2),
        cardinality=options.get("cardinality", 1),
        base_width=options.get("base_width", 64),
        dilation=options.get("dilation", 1),
        is_first=options.get("always_pool", False),
        avd=True,
        avd_first=options.get("pool_first", False),
    )
    theirs.double().eval().load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, 48, 9, 7, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-10, atol=1e-10)


def test_nothing_is_there_that_was_not_asked_for():
    block = Bottleneck(64, 16)
    for part in (block.pool, block.dropblock, block.stochastic_depth, block.downsample):
        assert isinstance(part, nn.Identity)
    assert block.pool_first is False


def test_the_narrowest_block():
    assert Bottleneck(4, 1, radix=1).conv1.out_channels == 1


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


def test_bad_arguments():
    rows = [
        ({"planes": 0}, r"planes \(=0\) must be an integer of at least 1"),
        ({"stride": 0}, r"stride \(=0\) must be an integer of at least 1"),
        ({"in_channels": 0}, r"in_channels \(=0\) must be an integer of at least 1"),
        ({"cardinality": 0}, r"cardinality \(=0\) must be an integer of at least 1"),
        ({"base_width": 0}, r"base_width \(=0\) must be an integer of at least 1"),
        ({"radix": 0}, r"radix \(=0\) must be an integer of at least 1"),
        ({"dilation": 0}, r"dilation \(=0\) must be an integer of at least 1"),
        ({"dropblock": 1.0}, r"dropblock \(=1\) must be below 1"),
        ({"stochastic_depth": -1}, r"stochastic_depth \(=-1\) must be a finite number at least 0"),
        ({"planes": 1, "base_width": 8}, r"planes \(=1\) \* base_width \(=8\) must be at least 64"),
        ({"planes": 15}, r"inner width, planes \* .*, \(=15\) must be divisible by radix \* cardinality \(=2\)"),
    ]
    assert_refused(lambda given: Bottleneck(**({"in_channels": 64, "planes": 16} | given)), rows)
