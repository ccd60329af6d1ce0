import json
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch import nn

from resnest_edu.network.regularization import DropBlock
from resnest_edu.transfer.backbone import StageBackbone, create_backbone
from resnest_edu.transfer.cascade import CascadeRoIHeads
from resnest_edu.transfer.detection import KINDS
from resnest_edu.transfer.transfer_recipes import TRANSFER_RECIPES, TransferRecipe
from tests.refused import assert_refused
from tests.transfer.tiny_recipes import DETECTION, RECIPES, SEGMENTATION


def test_bad_numbers() -> None:
    both = [
        ({"model": "resnest51"}, r"model \(='resnest51'\) must be one of resnest11_small"),
        ({"epochs": 0}, r"epochs \(=0\) must be an integer of at least 1"),
        ({"norm": "batch"}, r"norm \(='batch'\) must be one of trained, frozen, synchronized"),
        ({"frozen_stages": -1}, r"frozen_stages \(=-1\) must be a finite number at least 0"),
        ({"train_scenes": 0}, r"train_scenes \(=0\) must be an integer of at least 1"),
        ({"test_scenes": 0.5}, r"test_scenes \(=0.5\) must be an integer of at least 1"),
        ({"task": "classification"}, r"task \(='classification'\) must be one of (detection|segmentation)"),
        ({"head_width": 0}, r"head_width \(=0\) must be an integer of at least 1"),
    ]
    of_detection = [
        ({"detector": "slow"}, r"detector \(='slow'\) must be one of faster, mask, cascade, cascade_mask"),
        ({"pyramid_channels": 0}, r"pyramid_channels \(=0\) must be an integer of at least 1"),
        ({"proposals": 0}, r"proposals \(=0\) must be"),
        ({"samples": -1}, r"samples \(=-1\) must be"),
        ({"anchor_scale": 0}, r"anchor_scale \(=0\) must be a finite number greater than 0"),
    ]
    of_segmentation = [
        ({"output_stride": 32}, r"output_stride \(=32\) must be one of 8, 16"),
        ({"auxiliary": -0.1}, r"auxiliary \(=-0.1\) must be a finite number at least 0"),
    ]
    assert_refused(lambda change: replace(DETECTION, **change), both + of_detection)
    assert_refused(lambda change: replace(SEGMENTATION, **change), both + of_segmentation)


def test_a_recipe_comes_back_from_json() -> None:
    others = replace(SEGMENTATION, atrous_rates=None), replace(DETECTION, detector="cascade")
    for recipe in (*TRANSFER_RECIPES.values(), *others):
        found = type(recipe)(**json.loads(json.dumps(asdict(recipe))))
        assert found == recipe and hash(found) == hash(recipe)  # a list of rates would be neither


@pytest.mark.parametrize("kind", KINDS)
def test_a_detector_is_built_as_the_recipe_says(kind: str) -> None:
    recipe = replace(DETECTION, detector=kind, dropblock=0.2, stochastic_depth=0.3, norm="frozen", frozen_stages=2)
    model: Any = recipe.build(4)
    assert recipe.masks == ("mask" in kind) == model.roi_heads.has_mask()
    assert isinstance(model.roi_heads, CascadeRoIHeads) == ("cascade" in kind)
    assert model.backbone.out_channels == 16 and model.backbone.extra_level
    assert model.rpn.anchor_generator.sizes[0] == (4.0 * 4,)
    assert model.roi_heads.box_predictor.cls_score.in_features == 16
    assert model.roi_heads.box_predictor.cls_score.out_features == 5
    assert model.rpn._pre_nms_top_n == {"training": 40, "testing": 40}
    assert model.rpn._post_nms_top_n == {"training": 20, "testing": 20}
    assert model.roi_heads.fg_bg_sampler.batch_size_per_image == 8
    stages = model.backbone.backbone
    assert (stages.norm, stages.frozen_stages) == ("frozen", 2)
    assert {part.probability for part in model.modules() if isinstance(part, DropBlock)} == {0.2}
    assert stages.body.layer3[0].stochastic_depth.p == pytest.approx(0.3)


@pytest.mark.parametrize("stride", [8, 16])
def test_a_segmenter_is_built_as_the_recipe_says(stride: int) -> None:
    recipe = replace(SEGMENTATION, output_stride=stride, dropblock=0.2, norm="frozen", frozen_stages=1)
    model: Any = recipe.build(4)
    stages = model.backbone.stages
    assert list(stages.strides.values())[-1] == stride
    assert (stages.norm, stages.frozen_stages) == ("frozen", 1)
    assert {part.probability for part in model.modules() if isinstance(part, DropBlock)} == {0.2}
    rates = [layer[0].dilation[0] for layer in model.classifier[0].convs if hasattr(layer[0], "dilation")]
    assert rates == [1, 1, 2]  # the first has one tap alone
    assert (model.classifier[-1].in_channels, model.classifier[-1].out_channels) == (16, 4)
    assert model.aux_classifier[-1].out_channels == 4
    assert replace(recipe, auxiliary=0).build(4).aux_classifier is None


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_network_is_built_on_the_backbone_that_is_given(recipe: TransferRecipe) -> None:
    backbone = create_backbone("resnest14", output_stride=16)
    model = recipe.build_on(backbone, 3)
    assert [part for part in model.modules() if isinstance(part, StageBackbone)] == [backbone]


@pytest.mark.parametrize("name", TRANSFER_RECIPES)
def test_the_recipes_build_networks_that_run(name: str) -> None:
    size = min(TRANSFER_RECIPES[name].image_size, 96)
    model: nn.Module = TRANSFER_RECIPES[name].build(4).eval()
    with torch.no_grad():
        found = model(torch.zeros(2, 3, size, size))
    assert len(found["out"] if isinstance(found, dict) else found) == 2
