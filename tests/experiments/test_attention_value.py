"""The experiment trains what it says, and takes the attention away as it says."""

import json
from dataclasses import replace

import pytest
import torch

from resnest_edu.experiments import attention_value
from resnest_edu.split_attention import record_attention
from resnest_edu.training import RECIPES, TensorImages
from resnest_edu.training import data as training_data
from resnest_edu.training.augment import normalize
from tests.randomize import randomize_norms

CPU = torch.device("cpu")
KINDS = ["average", "uniform", "shuffled", "swapped", "shuffled within a class", "never"]


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(training_data, "TRAIN_SHAPES", 24)
    monkeypatch.setattr(training_data, "TEST_SHAPES", 80)
    return replace(RECIPES["shapes"], epochs=1, batch_size=8)


def test_it_runs_and_returns_plain_values(tiny, monkeypatch):
    monkeypatch.setitem(attention_value.RECIPES, "shapes", tiny)
    monkeypatch.setattr(attention_value, "SEEDS", range(2))
    results = json.loads(json.dumps(attention_value.run(CPU)))
    assert not attention_value.NEEDS_CUDA
    assert results["seeds"] == [0, 1]
    assert results["averaged_over"] == 1000
    assert results["recipe"]["batch_size"] == 8
    runs = [run["accuracy"] for run in results["runs"]]
    assert list(results["accuracy"]) == ["attention", *KINDS]
    assert list(results["loss_of_accuracy"]) == KINDS
    for name, summary in results["accuracy"].items():
        assert summary["mean"] == pytest.approx(sum(run[name] for run in runs) / 2)
    for name, summary in results["loss_of_accuracy"].items():
        assert summary["mean"] == pytest.approx(sum(run["attention"] - run[name] for run in runs) / 2)


def test_both_networks_start_alike_and_the_second_never_has_its_attention(tiny, monkeypatch):
    seen = []

    def train(model, train_data, test_data, recipe, *, seed, device):
        assert (len(train_data), len(test_data)) == (24, 80)
        attention = record_attention(model.eval(), normalize(test_data.images))
        even = all(torch.equal(a, torch.full_like(a, 0.5)) for a in attention.values())
        seen.append((even, seed, recipe, device, model))

    monkeypatch.setattr(attention_value, "train", train)
    attention_value.run_seed(1, tiny, CPU)
    assert [one[:4] for one in seen] == [(False, 1, tiny, CPU), (True, 1, tiny, CPU)]
    first, second = (one[4].state_dict() for one in seen)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = attention_value.build(tiny, 2).state_dict()
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


def test_distances_are_means_by_layer():
    model = attention_value.build(RECIPES["shapes"], 0).eval()
    images = torch.randn(5, 3, 32, 32)
    attention = record_attention(model, images)
    distances = attention_value.distances(model, images)
    assert distances.keys() == attention.keys()
    for name, a in attention.items():
        assert distances[name] == pytest.approx((a[:, 0] - a[:, 1]).abs().mean().item())


def test_within_classes_every_image_meets_only_its_own_class(monkeypatch):
    model = randomize_norms(attention_value.build(RECIPES["shapes"], 0)).eval()
    images = torch.randint(0, 256, (9, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([2, 2, 5, 2, 5, 5, 7, 7, 2])
    usual = record_attention(model, normalize(images))["layer1.0.conv2"]
    met = []

    def evaluate(model, data, *, batch_size):
        assert batch_size == len(data)
        attention = record_attention(model, normalize(data.images))["layer1.0.conv2"]
        # Whose attention each image got: rows of the record without any replacement.
        giver = torch.cdist(attention.flatten(1), usual.flatten(1)).argmin(1)
        met.append((data.labels.tolist(), labels[giver].tolist()))
        assert not torch.equal(usual[giver], usual[(labels == data.labels[0]).nonzero().flatten()])
        return 0.0, 1 / len(data)

    monkeypatch.setattr(attention_value, "evaluate", evaluate)
    assert attention_value.within_classes(model, TensorImages(images, labels), 0) == pytest.approx(3 / 9)
    assert met == [([label] * count, [label] * count) for label, count in ((2, 4), (5, 3), (7, 2))]
