"""Every block is trained at equal cost, from every seed, and timed; and the record says so."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from resnest_edu.book.experiments import blocks_shapes
from resnest_edu.book.rivals import CONTENDERS
from resnest_edu.training import batches as training_data

CPU = torch.device("cpu")


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(training_data, "TRAIN_SHAPES", 16)
    monkeypatch.setattr(training_data, "TEST_SHAPES", 24)
    tiny = replace(blocks_shapes.RECIPE, epochs=1, batch_size=8)
    monkeypatch.setattr(blocks_shapes, "RECIPE", tiny)
    monkeypatch.setattr(blocks_shapes, "SETTINGS", {"full": (tiny, 16), "short": (replace(tiny, base_rate=1.0), 8)})
    monkeypatch.setattr(blocks_shapes, "SIDE_BY_SIDE", 1)
    monkeypatch.setattr(blocks_shapes, "SEEDS", range(2))
    monkeypatch.setattr(blocks_shapes, "ROUNDS", 2)


def test_it_runs_and_summarizes_what_it_found(tiny):
    settings = ("full", "short")
    names = [f"{setting}: {kind}, seed {seed}" for setting in settings for seed in range(2) for kind in CONTENDERS]
    names.append("times")
    pieces = dict(blocks_shapes.run_pieces(names, CPU))
    assert list(pieces) == names
    record = json.loads(json.dumps(blocks_shapes.summarize(pieces)))
    assert [record["settings"][setting]["pictures"] for setting in settings] == [16, 8]
    assert record["settings"]["short"]["base_rate"] == 1.0 and record["timed_batch"] == 8
    assert list(record["blocks"]) == list(CONTENDERS)
    for kind, block in record["blocks"].items():
        for setting in settings:
            of_seeds = [pieces[f"{setting}: {kind}, seed {seed}"]["test_accuracy"] for seed in range(2)]
            assert block["test_accuracies"][setting] == of_seeds
            assert block["test_accuracy"][setting]["mean"] == pytest.approx(sum(of_seeds) / 2)
        for timing in block["seconds"].values():
            assert 0 < timing["low"] <= timing["median"] <= timing["high"]


def test_what_is_timed_goes_backwards_in_training_alone(tiny, monkeypatch):
    passes, modes = [], []

    def interleave(calls, device, *, rounds, repeats):
        passes.clear()
        for call in calls.values():
            call()
        modes.append(len(passes))
        return {}

    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: passes.append(loss))
    monkeypatch.setattr(blocks_shapes, "interleave", interleave)
    assert list(blocks_shapes.measure_times("times", device=CPU)) == ["training", "inference"]
    assert modes == [len(CONTENDERS), 0]


def test_multiply_adds_are_equal_and_blocks_are_not():
    models = {kind: blocks_shapes.build(kind) for kind in CONTENDERS}
    costs = {kind: blocks_shapes.multiply_adds(model, 32) for kind, model in models.items()}
    assert all(abs(cost / costs["ResNet"] - 1) < 0.03 for cost in costs.values())
    assert len({blocks_shapes.parameter_count(model) for model in models.values()}) == len(models)
    assert all(model.fc.out_features == 8 for model in models.values())


def test_a_seed_decides_weights_and_pictures_and_a_setting_how_many(tiny, monkeypatch):
    seen = []

    def train(model, train_data, test_data, recipe, *, seed, device, progress):
        seen.append((seed, model.fc.weight.detach().clone(), train_data.images))
        return [SimpleNamespace(score=0.5)]

    monkeypatch.setattr(blocks_shapes, "train", train)
    for name in ("full: SE, seed 0", "full: SE, seed 0", "full: SE, seed 1", "full: SK, seed 0", "short: SE, seed 0"):
        assert blocks_shapes.train_once(name, device=CPU)["test_accuracy"] == 0.5
    first, again, other, rival, short = seen
    assert torch.equal(first[1], again[1]) and not torch.equal(first[1], other[1])
    assert torch.equal(first[2], rival[2]) and not torch.equal(first[2], other[2])
    assert [one[0] for one in seen] == [0, 0, 1, 0, 0]
    assert torch.equal(first[2][:8], short[2]) and len(first[2]) == 16
