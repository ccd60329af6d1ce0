"""The experiments of the recipe's chapter compare like with like, and measure what they say."""

import json
import math
from functools import partial

import pytest
import torch
from torch import nn

from resnest_edu.book.experiments import _small_residual, averaged_weights, label_smoothing, warmup_and_gamma
from resnest_edu.book.experiments._small_residual import Block, train


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch):
    data = {True: _small_residual.figure_and_ground(48), False: _small_residual.figure_and_ground(8, split="test")}
    few = {which: (images, figures[:, ::2, ::2]) for which, (images, figures) in data.items()}
    for module in (_small_residual, label_smoothing):
        monkeypatch.setattr(module, "scenes", lambda train: few[train])
    monkeypatch.setitem(_small_residual.LONGER, "warmup", 2)
    monkeypatch.setitem(_small_residual.LONGER, "steps", 8)
    ways = {name: way | {"warmup": way["warmup"] // 12} for name, way in warmup_and_gamma.WAYS.items()}
    monkeypatch.setattr(warmup_and_gamma, "WAYS", ways)
    monkeypatch.setattr(warmup_and_gamma, "train", partial(train, steps=4))
    return few


@pytest.mark.parametrize(
    ("experiment", "settings", "measures"),
    [
        (warmup_and_gamma, ["0.1", "0.4", "1.6"], list(warmup_and_gamma.WAYS)),
        (label_smoothing, ["0.0", "0.1"], ["sure", "right"]),
        (averaged_weights, ["constant", "falling"], ["weights", "average"]),
    ],
)
def test_a_seed_gives_percentages_and_the_same_ones_again(experiment, settings, measures):
    found = experiment.run_seed(0)
    assert found == json.loads(json.dumps(found)) == experiment.run_seed(0) != experiment.run_seed(1)
    assert list(found) == settings
    for values in found.values():
        assert list(values) == measures
        assert all(0 <= value <= 100 for value in values.values())


def test_whatever_differs_a_seed_means_the_same_start_and_the_same_order(monkeypatch):
    def trained(seed, **options):
        return train(seed, **{"gamma": 1.0, "warmup": 2, "peak": 0.0, "steps": 4, **options})

    one, other, last = trained(0), trained(0, gamma=0.0, smoothing=0.1, decay=0.9, warmup=0), trained(1)
    weights = [[m.weight for m in each.network.modules() if isinstance(m, nn.Conv2d)] for each in (one, other, last)]
    assert all(a.equal(b) for a, b in zip(weights[0], weights[1], strict=True))
    assert not weights[0][0].equal(weights[2][0])
    assert one.losses == trained(0, decay=0.9).losses != other.losses
    assert one.average is None and other.average is not None


def test_a_rate_that_does_not_fall_differs_only_once_the_warm_up_is_over():
    options = {"gamma": 1.0, "warmup": 3, "peak": 0.1, "steps": 8}
    falling, constant = train(0, **options).losses, train(0, falling=False, **options).losses
    assert falling[:5] == constant[:5] and falling[5:] != constant[5:]  # both have the peak in step 3


def test_a_fresh_block_without_gamma_hands_on_its_input():
    x = torch.rand(2, 4, 8, 8)
    assert Block(4, gamma=0)(x).equal(x)
    assert not Block(4, gamma=1)(x).equal(x)


def test_how_sure_and_how_right(few_scenes):
    class Undecided(nn.Module):
        def forward(self, x):
            return torch.tensor([math.log(3), 0.0]).view(1, 2, 1, 1).expand(len(x), 2, 8, 8)

    ground = 100 * (few_scenes[False][1] == 0).float().mean().item()
    assert label_smoothing.sure_and_right(Undecided()) == {"sure": 75.0, "right": pytest.approx(ground, abs=0.01)}
