import copy

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resnest_edu.blocks.resnext import (
    AggregatedBottleneck,
    EarlyConcatenationBottleneck,
    GroupedBottleneck,
    equal_cost_width,
    to_aggregated,
    to_early_concatenation,
    to_grouped,
)
from tests.differentiate import differentiate
from tests.pairwise import pairwise
from tests.randomize import randomize
from tests.refused import assert_refused

MAPS = {
    AggregatedBottleneck: to_aggregated,
    EarlyConcatenationBottleneck: to_early_concatenation,
    GroupedBottleneck: to_grouped,
}
FORMS = list(MAPS)
ROUTES = [(form, convert) for form in FORMS for convert in MAPS.values()]


def assert_equal_states(actual: nn.Module, expected: nn.Module, **tolerance: float) -> None:
    assert list(actual.state_dict()) == list(expected.state_dict())
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(
            actual.state_dict()[name], tensor, **tolerance, msg=lambda m, name=name: f"{name}: {m}"
        )


def assert_same_function(block: nn.Module, other: nn.Module, x: torch.Tensor) -> None:
    """Output, all gradients, and the running statistics after the pass agree."""
    tolerance = {"rtol": 1e-12, "atol": 1e-12}
    y, dx, gradients = differentiate(block, x)
    other_y, other_dx, other_gradients = differentiate(other, x)
    torch.testing.assert_close(other_y, y, **tolerance)
    torch.testing.assert_close(other_dx, dx, **tolerance)
    assert_equal_states(to_grouped(other_gradients), to_grouped(gradients), **tolerance)


@pytest.mark.parametrize(
    ("form", "out_channels", "stride", "training"), pairwise(list(FORMS), (6, 10), (1, 2), (False, True))
)
def test_the_three_forms_are_one_function(form, out_channels, stride, training):
    block = randomize(form(6, out_channels, cardinality=3, width=2, stride=stride)).double().train(training)
    x = torch.randn(3, 6, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for other_form, convert in MAPS.items():
        other = convert(block)
        assert type(other) is other_form
        assert_same_function(copy.deepcopy(block), other, x)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    cardinality=st.integers(1, 6),
    width=st.integers(1, 5),
    channels=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    stride=st.integers(1, 3),
    training=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_forms_agree_at_any_cardinality_and_width(cardinality, width, channels, stride, training, seed):
    block = AggregatedBottleneck(*channels, cardinality=cardinality, width=width, stride=stride)
    randomize(block, seed).double().train(training)
    x = torch.randn(2, channels[0], 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    for convert in (to_early_concatenation, to_grouped):
        assert_same_function(copy.deepcopy(block), convert(block), x)


@pytest.fixture(scope="module")
def resnext50():
    torch.manual_seed(0)
    return randomize(torchvision.models.resnext50_32x4d())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "in_channels", "out_channels", "stride", "width"),
    [("layer1.0", 64, 256, 1, 4), ("layer1.1", 256, 256, 1, 4), ("layer2.0", 256, 512, 2, 8)],
)
def test_equals_torchvision_on_the_same_weights(resnext50, form, name, in_channels, out_channels, stride, width):
    theirs = resnext50.get_submodule(name).eval()
    ours = GroupedBottleneck(in_channels, out_channels, width=width, stride=stride).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(2, in_channels, 6, 5, generator=torch.Generator().manual_seed(3))
    expected = theirs(x)
    scale = expected.abs().max()
    torch.testing.assert_close(MAPS[form](ours)(x) / scale, expected / scale, rtol=1e-6, atol=1e-6)


def test_statistics_are_tracked_as_by_torchvision():
    theirs = randomize(torchvision.models.resnet.Bottleneck(16, 4, groups=2, base_width=32)).double()
    ours = GroupedBottleneck(16, 16, cardinality=2, width=2).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 16, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)
    assert_equal_states(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_parameter_counts(form, resnext50):
    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(form(256, 256)) == count(resnext50.layer1[1]) == 71_168
    assert count(form(64, 256)) == count(resnext50.layer1[0])
    assert count(form(256, 512, width=8, stride=2)) == count(resnext50.layer2[0])
    with_one_path = form(256, 256, cardinality=1, width=64)
    assert count(with_one_path) == count(torchvision.models.resnet.Bottleneck(256, 64)) == 70_400
    assert not any("bias" in name for name, _ in with_one_path.named_parameters() if "conv" in name)


@pytest.mark.parametrize("form", FORMS)
def test_the_default_is_32x4d_without_a_stride(form):
    block = form(8, 8)
    assert (block.cardinality, block.width, block.stride) == (32, 4, 1)
    assert to_grouped(block).conv2.weight.shape == (128, 4, 3, 3)
    assert to_grouped(block).conv2.groups == 32
    assert block(torch.randn(2, 8, 5, 6)).shape == (2, 8, 5, 6)
    assert form(8, 8, stride=2)(torch.randn(2, 8, 5, 6)).shape == (2, 8, 3, 3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("through", FORMS)
def test_a_round_trip_keeps_every_bit(form, through):
    block = randomize(form(6, 10, cardinality=3, width=2, stride=2))
    there = MAPS[through](block)
    back = MAPS[form](there)
    assert type(back) is form
    assert_equal_states(back, block, rtol=0, atol=0)
    assert_equal_states(MAPS[through](back), there, rtol=0, atol=0)
    assert there.arguments == {"in_channels": 6, "out_channels": 10, "cardinality": 3, "width": 2, "stride": 2}


@pytest.mark.parametrize(("form", "convert"), ROUTES)
def test_statistics_mode_dtype_and_device_travel_and_nothing_is_shared(form, convert):
    block = randomize(form(6, 10, cardinality=3, width=2)).to(torch.bfloat16)
    before, random_state = copy.deepcopy(block), torch.get_rng_state()
    for training in (True, False):
        converted = convert(block.train(training))
        assert all(module.training is training for module in converted.modules())
    assert torch.equal(torch.get_rng_state(), random_state)
    for name, tensor in converted.state_dict().items():
        assert tensor.dtype == (torch.int64 if name.endswith("num_batches_tracked") else torch.bfloat16)
        assert tensor.ndim or tensor == 7
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in converted.parameters())
    for tensor in converted.state_dict().values():
        tensor.zero_()
    assert_equal_states(block, before, rtol=0, atol=0)
    assert all(parameter.is_meta for parameter in convert(block.to("meta")).parameters())


@pytest.mark.parametrize(("form", "convert"), ROUTES)
def test_settings_travel(form, convert):
    block = form(8, 12, cardinality=2, width=2)
    for name, layer in block.named_modules():
        if name.endswith("bn1"):
            layer.eps, layer.momentum = 0.25, 0.5
            layer.weight.requires_grad_(False)
        if name.endswith(("bn2", "conv3")):
            layer.eval()
    converted = convert(block)
    assert converted.training
    for name, layer in converted.named_modules():
        changed = name.endswith("bn1")
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
            assert layer.training != name.endswith(("bn2", "conv3")), name
            for part, parameter in layer.named_parameters():
                assert parameter.requires_grad != (changed and part == "weight"), (name, part)
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.eps, layer.momentum) == ((0.25, 0.5) if changed else (1e-5, 0.1)), name


def test_path_k_becomes_group_k():
    block = randomize(AggregatedBottleneck(6, 10, cardinality=3, width=2))
    grouped, early = to_grouped(block), to_early_concatenation(block)
    for k, path in enumerate(block.paths):
        own = slice(2 * k, 2 * k + 2)
        assert torch.equal(grouped.conv1.weight[own], path.conv1.weight)
        assert torch.equal(grouped.conv2.weight[own], path.conv2.weight)
        assert torch.equal(grouped.bn2.running_mean[own], path.bn2.running_mean)
        assert torch.equal(grouped.conv3.weight[:, own], path.conv3.weight)
        assert torch.equal(early.conv3.weight[:, own], path.conv3.weight)


@pytest.mark.parametrize("convert", MAPS.values())
def test_what_is_none_of_the_forms_is_refused(convert):
    class Changed(GroupedBottleneck):
        pass

    forms = "AggregatedBottleneck, EarlyConcatenationBottleneck, GroupedBottleneck"
    blocks = torchvision.models.resnet.Bottleneck(16, 4), Changed(8, 8), 32
    rows = [(block, rf"^block \(a {type(block).__name__}\) must be one of {forms}$") for block in blocks]
    assert_refused(convert, rows, TypeError)


@pytest.mark.parametrize("convert", MAPS.values())
@pytest.mark.parametrize("form", [AggregatedBottleneck, EarlyConcatenationBottleneck])
def test_paths_that_counted_different_numbers_of_batches_are_refused(form, convert):
    block = form(8, 8, cardinality=3, width=2)
    block.paths[1](torch.randn(2, 8, 3, 3))
    with pytest.raises(ValueError, match=r"^bn1\.num_batches_tracked \(=0, 1, 0\) must be the same in every part$"):
        convert(block)


@pytest.mark.parametrize("form", FORMS)
def test_bad_arguments(form):
    names = ["in_channels", "out_channels", "cardinality", "width", "stride"]
    rows = [
        ({name: value}, rf"^{name} \(={value}\) must be an integer of at least 1$")
        for name in names
        for value in (0, 1.5)
    ]
    assert_refused(lambda given: form(**({"in_channels": 8, "out_channels": 8} | given)), rows)


@pytest.mark.parametrize(
    ("cardinality", "width", "weights"),
    [(1, 64, 69_632), (2, 40, 69_760), (4, 24, 69_888), (8, 14, 71_456), (32, 4, 70_144)],
)
def test_constant_cost_gives_the_widths_of_the_paper(cardinality, width, weights):
    assert equal_cost_width(256, cardinality, 69_632) == width
    with torch.device("meta"):
        block = GroupedBottleneck(256, 256, cardinality=cardinality, width=width)
    assert sum(p.numel() for name, p in block.named_parameters() if "conv" in name) == weights


def test_the_law_at_its_limits():
    assert equal_cost_width(256, 1000, 1000) == 1  # a path has at least one channel
    rows = [({name: 0}, rf"^{name} \(=0\) must be an integer") for name in ("channels", "cardinality", "weights")]
    assert_refused(lambda given: equal_cost_width(**({"channels": 1, "cardinality": 1, "weights": 1} | given)), rows)
