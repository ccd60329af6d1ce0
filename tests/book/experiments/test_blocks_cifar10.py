"""Blocks at equal cost on photographs, with a few tiny images of plain colours."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from resnest_edu.book.experiments import blocks_cifar10


def test_each_piece_is_its_block_from_its_seed_at_equal_cost(tiny_cifar10, monkeypatch):
    seen = []

    def noted(model, train_data, test_data, recipe, *, seed, **options):
        seen.append((len(train_data), len(test_data), seed, model.fc.weight.detach().clone()))
        return [SimpleNamespace(score=0.1), SimpleNamespace(score=0.6543)]

    monkeypatch.setattr(blocks_cifar10, "train", noted)
    monkeypatch.setattr(blocks_cifar10, "SEEDS", range(2))
    pieces = {name: blocks_cifar10.run_piece(name, data=tiny_cifar10) for name in blocks_cifar10.PIECES[:8]}
    assert [one[:3] for one in seen] == [(30, 20, seed) for seed in range(2) for _ in range(4)]
    weights = [one[3] for one in seen]
    assert not weights[0].equal(weights[4]) and all(one["test_accuracy"] == 65.43 for one in pieces.values())
    record = json.loads(json.dumps(blocks_cifar10.summarize(pieces)))
    costs = [block["multiply_adds"] for block in record["blocks"].values()]
    assert max(costs) < 1.03 * min(costs) and len({block["parameters"] for block in record["blocks"].values()}) == 4
    assert all(block["test_accuracy"]["mean"] == pytest.approx(65.43) for block in record["blocks"].values())


def test_the_same_piece_again_gives_the_same_accuracy(tiny_cifar10, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(blocks_cifar10, "RECIPE", replace(blocks_cifar10.RECIPE, epochs=1, batch_size=6))
    first, again = (blocks_cifar10.run_piece("SE, seed 1", data=tiny_cifar10) for _ in range(2))
    assert first == again
