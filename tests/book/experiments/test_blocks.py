"""The experiments of the chapters on the ancestors' blocks compare what they say they compare."""

import json
from collections.abc import Iterator

import pytest
import torch

from resnest_edu.book.experiments import resnext_cardinality, se_gates, sk_sizes


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A few scenes instead of thousands, and none of them kept for other tests."""
    drawn = (se_gates.scenes, resnext_cardinality.pictures, sk_sizes.train_scenes, sk_sizes.test_scenes)
    for experiment in (se_gates, resnext_cardinality, sk_sizes):
        monkeypatch.setattr(experiment, "TRAIN", 200)
        monkeypatch.setattr(experiment, "TEST", 24)
    for scenes in drawn:
        scenes.cache_clear()
    yield
    for scenes in drawn:
        scenes.cache_clear()


def test_se_gates_returns_an_overlap_for_every_arm_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(se_gates, "PEAKS", (0.1,))
    found = se_gates.run_seed(3)
    assert found == json.loads(json.dumps(found))
    assert list(found) == ["no gate", "gate", "blind gate"]
    assert all(len(overlaps) == 1 and 0 <= overlaps[0] <= 100 for overlaps in found.values())


def test_a_blind_gate_starts_like_a_gate_and_does_not_see_the_image() -> None:
    gates = {}
    for arm in ("gate", "blind gate"):
        torch.manual_seed(0)
        network = se_gates.build(arm).eval()
        gates[arm] = network[3].branch[-1]
    weights = [gate.state_dict() for gate in gates.values()]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    one, other = torch.rand(2, 1, 24, 8, 8)
    assert torch.equal(gates["blind gate"].gate(one), gates["blind gate"].gate(other))
    assert not torch.equal(gates["gate"].gate(one), gates["gate"].gate(other))


def test_resnext_cardinality_compares_blocks_of_equal_cost() -> None:
    found = resnext_cardinality.run_seed(3)
    assert found == json.loads(json.dumps(found))
    assert list(found) == ["1", "4", "32"] and all(0 <= one <= 100 for one in found.values())
    for cardinality in resnext_cardinality.CARDINALITIES:
        block = resnext_cardinality.build(cardinality)[3]
        assert block.conv2.groups == cardinality
        weights = sum(p.numel() for p in block.parameters() if p.ndim == 4)
        assert weights == pytest.approx(resnext_cardinality.BUDGET, rel=0.01)


def test_sk_sizes_measures_changes_by_layer_and_size() -> None:
    found = sk_sizes.run_seed(3)
    assert found == json.loads(json.dumps(found))
    assert list(found["accuracy"]) == ["free", "frozen", "linear"]
    assert all(len(sizes) == 5 for sizes in found["accuracy"].values())
    for network in ("untrained", "trained"):
        net, moved = (torch.tensor(found[network][name]) for name in ("net", "moved"))
        assert net.shape == moved.shape == (3, 5)
        assert (net[:, 0] == 0).all() and (moved[:, 1:] > 0).all()
        assert (net.abs() <= moved + 1e-4).all()  # what is left of a mean when its terms may cancel


def test_frozen_attention_is_the_mean_and_the_same_for_every_size() -> None:
    network = sk_sizes.settle(sk_sizes.build(0))
    network(sk_sizes.train_scenes()[0])
    means = [block.latest.mean(dim=0) for block in sk_sizes.selectors(network)]
    sk_sizes.freeze(network)
    frozen = [block.frozen for block in sk_sizes.selectors(network)]
    torch.testing.assert_close([attention[0] for attention in frozen], means)
    assert not any(value for layer in sk_sizes.changes(network)["moved"] for value in layer)
