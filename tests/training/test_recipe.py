from dataclasses import replace

import pytest
from torch import nn

import resnest_edu
from resnest_edu.training import RECIPES, get_recipe
from resnest_edu.training.recipe import parameter_groups

SHAPES = RECIPES["shapes"]


def test_peak_rate_scales_with_the_batch():
    assert replace(SHAPES, base_rate=0.1, batch_size=8192).peak_rate == pytest.approx(3.2)


def test_unknown_recipe():
    with pytest.raises(ValueError, match=r"recipe \(='cakes'\) must be one of shapes"):
        get_recipe("cakes")
    assert get_recipe("shapes") is SHAPES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "resnest51"}, r"model \(='resnest51'\) must be one of resnest11_small"),
        ({"epochs": -1}, r"epochs \(=-1\) must be an integer of at least 1"),
        ({"image_size": 0}, r"image_size \(=0\) must be an integer of at least 1"),
        ({"batch_size": 1}, r"batch_size \(=1\) must be at least 2"),
        ({"base_rate": 0}, r"base_rate \(=0\) must be a finite number greater than 0"),
        ({"base_rate": float("nan")}, r"base_rate \(=nan\) must be a finite number"),
        ({"warmup_epochs": 3, "epochs": 3}, r"warmup_epochs \(=3\) must be below epochs \(=3\)"),
        ({"warmup_epochs": -1}, r"warmup_epochs \(=-1\) must be a finite number at least 0"),
        ({"momentum": 1.5}, r"momentum \(=1.5\) must be a finite number at least 0 and at most 1"),
        ({"weight_decay": -1e-4}, r"weight_decay \(=-0.0001\) must be a finite number at least 0"),
        ({"label_smoothing": 2}, r"label_smoothing \(=2\) must be a finite number at least 0 and at most 1"),
        ({"shift": -1}, r"shift \(=-1\) must be a finite number at least 0"),
    ],
)
def test_bad_numbers(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SHAPES, **change)


def test_only_convolution_and_dense_weights_decay():
    model = resnest_edu.create_model("resnest14")
    decayed, free = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0)
    weights = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert {id(p) for p in decayed["params"]} == weights
    assert {id(p) for p in free["params"]} == {id(p) for p in model.parameters()} - weights
    # What a rule by name misses: the batch norms inside the deep stem, called conv1.1 and conv1.4.
    assert id(model.conv1[1].weight) not in weights
