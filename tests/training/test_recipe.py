from dataclasses import replace

import pytest
from torch import nn

import resnest_edu
from resnest_edu.network.regularization import DropBlock
from resnest_edu.training import RECIPES, BaseRecipe, get_recipe, recipes
from resnest_edu.training.recipe import parameter_groups
from resnest_edu.transfer import TRANSFER_RECIPES, transfer_recipes
from tests.refused import assert_refused

SHAPES = RECIPES["shapes"]


def test_peak_rate_scales_with_the_batch():
    assert replace(SHAPES, base_rate=0.1, batch_size=8192).peak_rate == pytest.approx(3.2)


def test_unknown_recipe():
    with pytest.raises(ValueError, match=r"recipe \(='cakes'\) must be one of shapes"):
        get_recipe("cakes")
    assert get_recipe("shapes") is SHAPES


def test_bad_numbers():
    rows = [
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
        ({"shift": 33}, r"shift \(=33\) must be a finite number at least 0 and at most 32"),
        ({"optimizer": "adam"}, r"optimizer \(='adam'\) must be one of sgd, adamw"),
        ({"task": "detection"}, r"task \(='detection'\) must be one of classification"),
        ({"mixup": -0.1}, r"mixup \(=-0.1\) must be a finite number at least 0"),
        ({"cutmix": -1}, r"cutmix \(=-1\) must be a finite number at least 0"),
        ({"crop": 1.1}, r"crop \(=1.1\) must be a finite number at least 0 and at most 1"),
        ({"color_jitter": -1}, r"color_jitter \(=-1\) must be"),
        ({"lighting": -1}, r"lighting \(=-1\) must be"),
        ({"lighting": 0.1}, r"lighting \(=0.1\) must be 0 without a crop \(=0\)"),
        ({"color_jitter": 0.4}, r"color_jitter \(=0.4\) must be 0 without a crop \(=0\)"),
        ({"smoothing": "none"}, r"smoothing \(='none'\) must be one of all, others"),
        ({"mix_per": "image"}, r"mix_per \(='image'\) must be one of batch, example"),
        ({"policy": "magic"}, r"policy \(='magic'\) must be one of none, autoaugment, randaugment"),
        ({"dropout": 1.0}, r"dropout \(=1\) must be below 1"),
        ({"dropblock": -0.1}, r"dropblock \(=-0.1\) must be"),
        ({"stochastic_depth": 2}, r"stochastic_depth \(=2\) must be"),
        ({"ema": 1.0}, r"ema \(=1\) must be below 1"),
        ({"precision": "half"}, r"precision \(='half'\) must be one of auto, float32, bfloat16, float16"),
        ({"accumulate": 0}, r"accumulate \(=0\) must be an integer of at least 1"),
        ({"accumulate": 5, "batch_size": 8}, r"accumulate \(=5\) must be at most half of batch_size \(=8\)"),
    ]
    assert_refused(lambda change: replace(SHAPES, **change), rows)


def test_only_convolution_and_dense_weights_decay():
    model = resnest_edu.create_model("resnest14")
    decayed, free = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0)
    weights = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert {id(p) for p in decayed["params"]} == weights
    assert {id(p) for p in free["params"]} == {id(p) for p in model.parameters()} - weights
    # What a rule by name misses: the batch norms inside the deep stem, called conv1.1 and conv1.4.
    assert id(model.conv1[1].weight) not in weights


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("50", {"batch_size": 8192, "image_size": 224, "peak_rate": 3.2, "dropout": 0}),
        ("101", {"batch_size": 4096, "image_size": 224, "peak_rate": 1.6, "dropout": 0}),
        ("200", {"batch_size": 2048, "image_size": 256, "peak_rate": 0.8, "dropout": 0.2}),
        ("269", {"batch_size": 2048, "image_size": 320, "peak_rate": 0.8, "dropout": 0.2}),
    ],
)
def test_the_recipes_for_imagenet_have_the_papers_figures(name, expected):
    recipe = get_recipe(f"imagenet-resnest{name}")
    common = {
        "model": f"resnest{name}",
        "epochs": 270,
        "warmup_epochs": 5,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "dropblock": 0.1,
        "label_smoothing": 0.1,
        "smoothing": "others",
        "mixup": 0.2,
        "mix_per": "example",
        "cutmix": 0,
        "policy": "autoaugment",
        "crop": 0.08,
        "flip": True,
        "shift": 0,
        "color_jitter": 0.4,
        "lighting": 0.1,
        "stochastic_depth": 0,
        "ema": 0,
    }
    for field, value in (common | expected).items():
        assert getattr(recipe, field) == (pytest.approx(value) if isinstance(value, float) else value), field


def test_every_recipe_says_what_it_is_costs_and_gives():
    assert (recipes.ABOUT.keys(), transfer_recipes.ABOUT.keys()) == (RECIPES.keys(), TRANSFER_RECIPES.keys())
    for name, text in (recipes.ABOUT | transfer_recipes.ABOUT).items():
        assert f"--recipe {name} " in text and "Cost" in text and ("Expected" in text or "result: " in text), name


def test_the_network_gets_its_regularization():
    recipe = replace(SHAPES, dropout=0.25, dropblock=0.1, stochastic_depth=0.3)
    model = recipe.build(5)
    assert (model.dropout.p, model.fc.out_features) == (0.25, 5)
    blocks = [module for module in model.modules() if isinstance(module, DropBlock)]
    assert {block.probability for block in blocks} == {0.1}
    assert model.layer3[0].stochastic_depth.p == pytest.approx(0.3)
    assert not any(isinstance(module, DropBlock) for module in SHAPES.build(5).modules())


def test_what_all_recipes_have_in_common_builds_nothing():
    common = {name: getattr(SHAPES, name) for name in BaseRecipe.__dataclass_fields__ if name != "task"}
    with pytest.raises(NotImplementedError):
        BaseRecipe(**common).build(3)
