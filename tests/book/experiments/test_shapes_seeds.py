"""A seed decides everything, and the confusion is that of the network at the end."""

import json
from dataclasses import replace

import pytest

from resnest_edu.book.experiments import shapes_seeds
from resnest_edu.training import batches as training_data


def test_of_two_seeds_and_one_of_them_again(monkeypatch):
    monkeypatch.setattr(training_data, "TRAIN_SHAPES", 256)
    monkeypatch.setattr(training_data, "TEST_SHAPES", 80)
    recipe = replace(shapes_seeds.RECIPES["shapes"], epochs=2, batch_size=16, base_rate=1.0)
    monkeypatch.setitem(shapes_seeds.RECIPES, "shapes", recipe)
    first, again, other = (json.loads(json.dumps(shapes_seeds.run_seed(seed))) for seed in (0, 0, 1))
    assert len(first["test_accuracy"]) == 2
    assert first["test_accuracy"] == again["test_accuracy"]
    assert first["taken_for"] == again["taken_for"] != other["taken_for"]
    right = sum(row[i] for i, row in enumerate(first["taken_for"]))
    assert right / 80 == pytest.approx(first["test_accuracy"][-1])
    labels = training_data.shapes_data(recipe, 0)[1].labels
    assert [sum(row) for row in first["taken_for"]] == labels.bincount(minlength=8).tolist()
