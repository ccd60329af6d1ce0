"""Replaced attention is what it says while it lasts and nothing afterwards; the distance is 0 and 1 where it should."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnest_edu import CardinalityMajorSplitAttention, create_model
from resnest_edu.book.interventions import REPLACEMENTS, distance_from_uniform, others, replaced_attention, settle
from resnest_edu.speed import accelerate
from resnest_edu.split_attention import RadixMajorSplitAttention, record_attention
from tests.pairwise import pairwise
from tests.randomize import randomize
from tests.refused import assert_refused

LAYERS = ["0", "1"]


def network(radix: int = 2, cardinality: int = 2) -> nn.Module:
    blocks = (RadixMajorSplitAttention(8, 8, radix=radix, cardinality=cardinality) for _ in LAYERS)
    return randomize(nn.Sequential(*blocks)).double().eval()


def pictures(count: int = 5, channels: int = 8) -> Tensor:
    return torch.randn(count, channels, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def by_hand(model: nn.Module, x: Tensor, how: str, layers: list[str]) -> Tensor:
    """The output of the network, the weights put in without the module's method."""
    usual = record_attention(model, x)
    generator = torch.Generator().manual_seed(3)
    for name, block in model.named_children():
        splits = block.split(x)
        own = block.attention(splits)
        weights = {
            "uniform": torch.full_like(own, 1 / block.radix),
            "average": usual[name].mean(0, keepdim=True)[..., None, None].expand_as(own),
            "shuffled": own[others(len(x), generator)] if how == "shuffled" and name in layers else own,
            "swapped": own[:, list(range(block.radix))[::-1]],
        }[how]
        x = ((weights if name in layers else own) * splits).sum(1)
    return x


@pytest.mark.parametrize(("how", "radix", "layers"), pairwise(list(REPLACEMENTS), (2, 4), (None, ("1",), ("0",))))
def test_the_splits_are_weighed_by_the_replacement_and_afterwards_by_the_attention(how, radix, layers):
    model, x = network(radix), pictures()
    before = model(x)
    expected = by_hand(model, x, how, LAYERS if layers is None else layers)
    assert (expected - before).abs().max() > 1e-3
    with replaced_attention(model, how, images=x, generator=torch.Generator().manual_seed(3), layers=layers):
        torch.testing.assert_close(model(x), expected)
    assert torch.equal(model(x), before)
    assert not any("attention" in vars(block) for block in model)


def test_what_replaces_the_attention_is_what_is_recorded():
    model, x = network(4), pictures()
    with replaced_attention(model, "uniform"):
        assert all(torch.equal(a, torch.full_like(a, 0.25)) for a in record_attention(model, x).values())
    for images in (x, x[:2]):  # the average is over these
        usual = record_attention(model, images)
        with replaced_attention(model, "average", images=images):
            for name, a in record_attention(model, pictures(3)).items():
                torch.testing.assert_close(a, usual[name].mean(0).expand(3, -1, -1))


def test_one_inside_another_works_on_what_it_finds_and_leaves_it_there_after_an_error_too():
    model, x = network(), pictures()
    with replaced_attention(model, "average", images=x):
        outer = model(x)
        with pytest.raises(RuntimeError, match="on the way"), replaced_attention(model, "swapped"):
            inner = record_attention(model, x)
            raise RuntimeError("on the way")
        assert torch.equal(model(x), outer)
        for name, a in record_attention(model, x).items():
            assert torch.equal(a.flip(1), inner[name])
    assert not any("attention" in vars(block) for block in model)


@pytest.mark.parametrize("how", REPLACEMENTS)
def test_the_accelerated_network_is_served_alike(how):
    model = randomize(create_model("resnest11_small", 8)).double().eval()
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def output() -> Tensor:
        with replaced_attention(model, how, images=x, generator=torch.Generator().manual_seed(3)):
            return model(x)

    before, reference = model(x), output()
    accelerate(model)
    torch.testing.assert_close(output(), reference)
    torch.testing.assert_close(model(x), before)
    assert (reference - before).abs().max() > 1e-3 * before.abs().max()


@pytest.mark.parametrize("fast", [False, True])
def test_averaging_trains_all_but_the_layers_that_make_the_attention(fast):
    model = create_model("resnest11_small", 8).train()
    if fast:
        accelerate(model)
    with replaced_attention(model, "uniform"):
        model(torch.randn(2, 3, 32, 32)).sum().backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    parts = "fc1.weight", "fc1.bias", "bn1.weight", "bn1.bias", "fc2.weight", "fc2.bias"
    assert without == {f"layer{stage}.0.conv2.{part}" for stage in (1, 2, 3) for part in parts}


def test_shuffled_uses_its_generator_and_pytorchs_own_without_one():
    model, x = network(), pictures(30)
    outputs = []
    for seed, generator in ((0, None), (0, None), (1, None), (2, torch.Generator().manual_seed(0))):
        torch.manual_seed(seed)
        with replaced_attention(model, "shuffled", generator=generator):
            outputs.append(model(x))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert torch.equal(outputs[0], outputs[3])


def test_what_makes_no_sense_is_refused_before_anything_changes():
    other = nn.Sequential(CardinalityMajorSplitAttention(8, 8))
    rows = [
        ((network(), "even"), r"how \(='even'\) must be one of uniform, average, shuffled, swapped"),
        ((other, "uniform"), r"model \(=Sequential\) must contain split attention in the radix-major layout"),
        ((network(), "average"), r"images \(=None\) must be given to average over"),
        ((network().train(), "average", pictures()), r"model \(=in training\) must be in evaluation mode"),
        ((network(), "uniform", None, ["1", "9", "7"]), r"layers \(=\['7', '9'\]\) must be of 0, 1"),
    ]

    def begin(given: tuple[Any, ...]) -> None:
        options = dict(zip(("images", "layers"), given[2:], strict=False))
        with replaced_attention(*given[:2], **options):
            pytest.fail("must not begin")

    assert_refused(begin, rows)
    with pytest.raises(ValueError, match=r"images \(=1\) must be at least 2 to change places"):
        others(1)
    with pytest.raises(ValueError, match=r"radix \(=1\) must be at least 2 for splits to differ"):
        distance_from_uniform(torch.ones(2, 1, 3))


def test_others_is_a_permutation_that_leaves_nobody_in_place():
    for count, ways in ((2, 1), (3, 2), (50, 20)):
        orders = [others(count, torch.Generator().manual_seed(seed)) for seed in range(20)]
        assert all(sorted(order.tolist()) == list(range(count)) for order in orders)
        assert all((order != torch.arange(count)).all() for order in orders)
        assert len({tuple(order.tolist()) for order in orders}) == ways


def test_distance_from_uniform():
    for weights, distance in [
        ([0.5, 0.5], 0.0),
        ([0.2, 0.8], 0.6),
        ([0.25, 0.25, 0.25, 0.25], 0.0),
        ([0.0, 0.0, 1.0, 0.0], 1.0),
        ([0.5, 0.5, 0.0, 0.0], 2 / 3),
        ([0.6, 0.2, 0.2], 0.4),
    ]:
        attention = torch.tensor(weights, dtype=torch.float64)[None, :, None].expand(3, -1, 5)
        torch.testing.assert_close(distance_from_uniform(attention), torch.full((3, 5), distance).double())


@pytest.mark.parametrize("options", [{}, {"batch_size": 7}])
def test_settling_sets_the_running_statistics_to_the_mean_of_the_batches_and_nothing_else(options):
    images = pictures(70)
    model, expected = network(), network()
    expected.train()
    for module in expected.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean
    for batch in images.split(options.get("batch_size", 64)):
        expected(batch)
    assert settle(model, images, **options) is model
    assert not model.training
    assert {module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)} == {0.1}
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    assert not torch.equal(network().state_dict()["0.bn1.running_mean"], model.state_dict()["0.bn1.running_mean"])
    assert all(parameter.grad is None for parameter in model.parameters())
