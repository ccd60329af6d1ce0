from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.transfer import SCENES, DetectionScenes, SegmentationScenes, folder_splits, scene_splits
from tests.transfer.annotated_folders import write_coco, write_voc
from tests.transfer.tiny_recipes import DETECTION, RECIPES, SEGMENTATION

DRAWN: dict[str, Any] = {"config": replace(SCENES, size=64), "seed": 3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("folders")
    return {"COCO": write_coco(root / "coco"), "VOC": write_voc(root / "voc")}


def images(data: Any) -> list[Tensor]:
    return [data[index][0] for index in range(len(data))]


def same(ones: list[Tensor], others: list[Tensor]) -> list[bool]:
    return [torch.equal(one, other) for one, other in zip(ones, others, strict=True)]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_scenes_are_the_recipes(recipe: Any) -> None:
    kind: Any = DetectionScenes if recipe is DETECTION else SegmentationScenes
    splits = scene_splits(recipe, 3)
    assert splits.classes == (SHAPE_CLASSES if recipe is DETECTION else ("background", *SHAPE_CLASSES))
    assert all(same(images(splits.test), images(kind(6, split="test", **DRAWN))))
    torch.manual_seed(0)
    drawn = images(kind(16, **DRAWN))
    mirrored = same(images(splits.train), [image.flip(-1) for image in drawn])
    as_drawn = same(images(scene_splits(replace(recipe, flip=False), 3).train), drawn)
    assert 2 < sum(mirrored) < 14 and all(as_drawn)
    assert not any(same(images(scene_splits(replace(recipe, flip=False), 4).train), drawn))


def test_the_shorter_side_of_a_folders_images_is_the_recipes(folders: dict[str, Path]) -> None:
    for recipe in RECIPES.values():
        for folder in folders.values():
            splits = folder_splits(replace(recipe, image_size=48), folder)
            for data in (splits.train, splits.test):
                assert {tuple(image.shape) for image in images(data)} == {(3, 48, 48)}
            assert all(same(images(splits.test), images(splits.test)))  # nothing is left to chance


def test_folders_are_mirrored_in_training_if_the_recipe_says_so(folders: dict[str, Path]) -> None:
    torch.manual_seed(0)
    whole = replace(DETECTION, image_size=96)
    drawn = images(DetectionScenes(4))
    for flip in (True, False):
        data = folder_splits(replace(whole, flip=flip), folders["COCO"]).train
        turned = [not all(same(images(data), drawn)) for _ in range(6)]
        assert any(turned) == flip


def test_squares_are_cut_at_random_from_a_folder_for_segmentation(folders: dict[str, Path]) -> None:
    data = folder_splits(replace(SEGMENTATION, flip=False), folders["VOC"]).train
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(data[0])
    assert torch.equal(draws[0][0], draws[1][0]) and torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[2][0])


def test_masks_are_read_where_the_detector_finds_them(folders: dict[str, Path]) -> None:
    for detector in ("faster", "mask"):
        recipe = replace(DETECTION, detector=detector)
        assert ("masks" in folder_splits(recipe, folders["COCO"]).train[0][1]) == recipe.masks
    with pytest.raises(ValueError, match=r"masks \(=True\) must be False for the VOC folder"):
        folder_splits(recipe, folders["VOC"])
