from itertools import islice

import numpy as np
import pytest
import torch

from resnest_edu.data import SHAPE_CLASSES, TEST_START, draw_scenes
from resnest_edu.transfer import SCENES, DetectionScenes, SegmentationScenes, check_map, check_target
from tests.refused import assert_refused

COUNT = 40


@pytest.mark.parametrize(("split", "start"), [("train", 0), ("test", TEST_START)])
def test_items_are_the_drawn_scenes_without_their_empty_slots(split: str, start: int) -> None:
    drawn = draw_scenes(start, COUNT, seed=3, config=SCENES)
    items = DetectionScenes(COUNT, seed=3, split=split)  # type: ignore[arg-type]
    assert len(items) == len(list(items)) == COUNT
    seen = set()
    for index in range(COUNT):
        image, target = items[index]
        check_target(target, (96, 96), len(SHAPE_CLASSES), f"scene {index}")
        filled = drawn.classes[index] >= 0
        seen.add(int(filled.sum()))
        assert np.array_equal(image, drawn.images[index])
        assert np.array_equal(target["labels"], drawn.classes[index][filled] + 1)
        assert np.array_equal(target["boxes"], drawn.boxes[index][filled])
        assert np.array_equal(target["masks"], drawn.instance_masks[index][filled])
        assert not target["crowd"].any()
    assert seen == {1, 2, 3, 4}


def test_an_object_with_too_few_visible_pixels_is_left_out() -> None:
    pixels = draw_scenes(0, COUNT, config=SCENES).instance_masks.sum(axis=(2, 3))
    least = int(np.median(pixels[pixels > 0]))
    items = DetectionScenes(COUNT, least_pixels=least)
    found = [sorted(int(mask.sum()) for mask in items[index][1]["masks"]) for index in range(COUNT)]
    assert found == [sorted(scene[scene >= least].tolist()) for scene in pixels]
    assert [] in found and any(least in scene for scene in found)
    empty = items[found.index([])][1]
    assert empty["boxes"].shape == (0, 4) and empty["masks"].shape == (0, 96, 96) and empty["labels"].shape == (0,)


def test_maps_name_the_visible_class_of_every_pixel() -> None:
    detection, segmentation = DetectionScenes(COUNT, least_pixels=1), SegmentationScenes(COUNT)
    assert segmentation.classes == ("background", *detection.classes)
    for (image, target), (same, classes) in zip(islice(detection, COUNT), islice(segmentation, COUNT), strict=True):
        check_map(classes, (96, 96), len(segmentation.classes), "scene")
        assert torch.equal(image, same)
        # Visible parts do not overlap.
        assert torch.equal(classes, (target["masks"].long() * target["labels"][:, None, None]).sum(0))


def test_transforms_are_applied_to_the_item() -> None:
    detection = DetectionScenes(2, transform=lambda image, target: (image + 1, {"labels": target["labels"]}))
    segmentation = SegmentationScenes(2, transform=lambda image, classes: (image + 1, classes + 1))
    plain, maps = DetectionScenes(2), SegmentationScenes(2)
    assert torch.equal(detection[1][0], plain[1][0] + 1) and list(detection[1][1]) == ["labels"]
    assert torch.equal(segmentation[1][0], maps[1][0] + 1) and torch.equal(segmentation[1][1], maps[1][1] + 1)


def test_bad_arguments_are_refused() -> None:
    for kind in (DetectionScenes, SegmentationScenes):
        rows = [({"count": 0}, r"count \(=0\)"), ({"count": 2, "split": "val"}, r"split \(='val'\)")]
        assert_refused(lambda options, kind=kind: kind(**options), rows)
    with pytest.raises(ValueError, match=r"least_pixels \(=0\)"):
        DetectionScenes(2, least_pixels=0)
