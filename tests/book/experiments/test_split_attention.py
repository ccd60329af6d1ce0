"""The experiments of the chapters on split attention, shrunk."""

import pytest
import torch

from resnest_edu import RadixMajorSplitAttention, to_cardinality_major
from resnest_edu.book.experiments import _one_block, attention_arms, layout_cost, radix_cardinality, twins_drift
from resnest_edu.network.layouts import cardinality_major_order
from resnest_edu.split_attention import CardinalGroup
from tests.randomize import randomize


@pytest.mark.parametrize(
    "experiment, names",
    [(attention_arms, attention_arms.ARMS), (radix_cardinality, radix_cardinality.SETTINGS)],
)
def test_overlap_of_each_arm_comes_from_the_seed_alone(experiment, names, monkeypatch):
    for name, value in {"TRAIN": 32, "TEST": 16, "EPOCHS": 1}.items():
        monkeypatch.setattr(_one_block, name, value)
    found = experiment.run_seed(3)
    assert list(found["overlap"]) == list(names)
    assert all(0 <= value <= 100 for value in found["overlap"].values())
    assert len(set(found["overlap"].values())) > 1
    assert experiment.run_seed(3) == found
    assert experiment.run_seed(4) != found


def test_arms_start_from_the_same_weights_and_weigh_as_they_say():
    layers = {}
    for name, arm in attention_arms.ARMS.items():
        torch.manual_seed(0)
        layers[name] = attention_arms.with_weights(arm).eval()
    state = layers["attention"].state_dict()
    assert all(layer.state_dict()[key].equal(state[key]) for layer in layers.values() for key in state)

    splits = [torch.rand(4, 12, 5, 5) for _ in range(2)]
    weights = {name: torch.stack(layer.groups[0].attention(splits)) for name, layer in layers.items()}
    assert all(a.shape == (2, 4, 12, 1, 1) for a in weights.values())
    sums = {name: (a.sum(dim=0) - 1).abs().max() < 1e-6 for name, a in weights.items()}
    assert sums == {"attention": True, "gates": False, "blind": True, "equal shares": True}
    looks = {name: not torch.allclose(a[:, :1], a, atol=0) for name, a in weights.items()}
    assert looks == {"attention": True, "gates": True, "blind": False, "equal shares": False}
    # Gates are what competition is between: the softmax of two logits is the sigmoid of their difference.
    difference = weights["gates"][0].logit() - weights["gates"][1].logit()
    torch.testing.assert_close(difference.sigmoid(), CardinalGroup.attention(layers["gates"].groups[0], splits)[0])


def test_twins_drift_by_rounding_alone(monkeypatch):
    monkeypatch.setattr(twins_drift, "IMAGES", 32)
    monkeypatch.setattr(twins_drift, "EPOCHS", 1)
    found = twins_drift.run_seed(0)
    assert list(found) == ["training itself", "single precision", "double precision"]
    assert found["training itself"] > 1e-3
    assert found["double precision"] < 1e-11
    # Weights in another order are not the same weights.
    torch.manual_seed(0)
    one, other = (RadixMajorSplitAttention(16, 16) for _ in range(2))
    assert twins_drift.farthest(one, one) == 0 < twins_drift.farthest(one, other)


@pytest.mark.parametrize("radix, cardinality", layout_cost.SETTINGS)
def test_what_is_timed_computes_the_same(radix, cardinality):
    module = RadixMajorSplitAttention(64, 64, radix=radix, cardinality=cardinality).double().eval()
    randomize(module)
    x = torch.randn(2, 64, 5, 6).double()
    card = cardinality_major_order(x, radix, cardinality)
    for other in (to_cardinality_major(module), layout_cost.five_layers(module)):
        torch.testing.assert_close(other(card), module(x), rtol=1e-10, atol=1e-10)


def test_times_by_map_setting_and_way(monkeypatch):
    monkeypatch.setattr(layout_cost, "ROUNDS", 2)
    monkeypatch.setattr(layout_cost, "CASES", {"one map of 3×3": ((1, layout_cost.CHANNELS, 3, 3), 1)})
    found = layout_cost.run(torch.device("cpu"))
    assert found["rounds"] == 2
    assert list(found["milliseconds"]) == ["one map of 3×3"]
    times = found["milliseconds"]["one map of 3×3"]
    assert list(times) == ["R = 2, K = 1", "R = 2, K = 2", "R = 4, K = 4"]
    for ways in times.values():
        assert next(iter(ways)) == "cardinality-major, loops" and len(ways) == 3
        assert all(0 < way["low"] <= way["median"] <= way["high"] for way in ways.values())
