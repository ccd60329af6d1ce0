"""Data sets of one's own get the checks that folders get, in training, in evaluation and before either."""

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from resnest_edu.training import train
from resnest_edu.transfer import Detection, DetectionScenes, Segmentation, SegmentationScenes, detect, evaluate_detector
from resnest_edu.transfer.checked_items import checked_detection
from resnest_edu.transfer.detection import greatest_label
from resnest_edu.transfer.tasks import evaluate_segmenter
from tests.refused import assert_refused
from tests.transfer.tiny_recipes import DETECTION, SEGMENTATION

BOXES, MAPS = [DetectionScenes(4)[index] for index in range(4)], [SegmentationScenes(4)[index] for index in range(4)]
MASKS = replace(DETECTION, detector="mask", epochs=1, batch_size=4)
SMALL = replace(SEGMENTATION, epochs=1, batch_size=4, image_size=96)


class Own(Dataset):
    """The items, those from ``first`` on as ``change`` leaves them; to ask for one draws a number, as augmentation
    does."""

    def __init__(self, items: list[Any], change: Callable[[Any, Any], Any] | None = None, first: int = 0) -> None:
        self.items, self.change, self.first = items, change, first

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        torch.rand(1)
        image, truth = self.items[index]
        return self.change(image, truth) if self.change and index >= self.first else (image, truth)


class Untouched(nn.Module):
    """In the place of a network: to reach it is too late."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.classifier = nn.Sequential(nn.Conv2d(1, 9, 1))
        self.roi_heads = nn.Module()
        self.roi_heads.box_predictor = nn.Module()
        self.roi_heads.box_predictor.cls_score = nn.Linear(1, 9)

    def forward(self, *images: Any) -> Any:
        raise AssertionError("the network has been run")


def with_(name: str, change: Callable[[Any], Any]) -> Callable[[Tensor, Any], Any]:
    return lambda image, target: (image, target | {name: change(target[name])})


def without(name: str) -> Callable[[Tensor, Any], Any]:
    return lambda image, target: (image, {key: value for key, value in target.items() if key != name})


def emptied(image: Tensor, target: dict[str, Tensor]) -> Any:
    return image, {name: field[:0] for name, field in target.items()}


IMAGES = [
    (lambda image, truth: (image / 255, truth), "image (=torch.float32, (3, 96, 96)) must be uint8 of shape (3, H, W)"),
    (lambda image, truth: (image.long(), truth), "image (=torch.int64, (3, 96, 96)) must be uint8"),
    (lambda image, truth: (image[:1], truth), "image (=torch.uint8, (1, 96, 96)) must be uint8 of shape (3, H, W)"),
    (lambda image, truth: (image.permute(1, 2, 0), truth), "image (=torch.uint8, (96, 96, 3)) must be uint8"),
    (lambda image, truth: (image.numpy(), truth), "image (a ndarray) must be a tensor"),
    (lambda image, truth: (image, truth, 7), "(a tuple) must be a pair"),
    (lambda image, truth: {"image": image}, "(a dict) must be a pair"),
]
TARGETS = [
    (with_("masks", lambda it: 255 * it), "masks (=255) must be 0 or 1"),
    (with_("masks", lambda it: it.bool()), "masks (=(torch.bool"),
    (with_("labels", lambda it: it * 0), "labels (=0) must be from 1 to 8"),
    (with_("labels", lambda it: it * 0 + 9), "labels (=9) must be from 1 to 8"),
    (with_("labels", lambda it: it.float()), "labels (=(torch.float32"),
    (with_("labels", lambda it: it.tolist()), "labels (a list) must be a tensor"),
    (with_("boxes", lambda it: it + 500), "boxes (=["),
    (with_("boxes", lambda it: it / 96), "boxes (=[["),
    (with_("boxes", lambda it: it[:, [2, 3, 0, 1]]), "boxes (=["),
    (with_("boxes", lambda it: it.double()), "boxes (=(torch.float64"),
    (with_("boxes", lambda it: it.numpy()), "boxes (a ndarray) must be a tensor"),
    *[(without(name), " must contain " + name) for name in ("boxes", "labels", "crowd", "masks")],
    (lambda image, target: (image, [target]), "target (a list) must be a dict of tensors"),
]
CLASSES = [
    (lambda image, classes: (image, classes.to(torch.uint8)), "map (=(torch.uint8, (96, 96))) must be torch.int64"),
    (lambda image, classes: (image, classes.float()), "map (=(torch.float32"),
    (lambda image, classes: (image, classes[:95]), "map (=(torch.int64, (95, 96))) must be torch.int64 of shape (96"),
    (lambda image, classes: (image, classes[None]), "map (=(torch.int64, (1, 96, 96)))"),
    (lambda image, classes: (image, classes * 0 + 9), "map (=9) must be from 0 to 8, or 255"),
    (lambda image, classes: (image, classes - 1), "map (=-1) must be from 0 to 8, or 255"),
    (lambda image, classes: (image, np.array(classes)), "map (a ndarray) must be a tensor"),
]


def each_use(recipe: Any, items: list[Any], change: Callable[[Any, Any], Any]) -> list[Callable[[], Any]]:
    network, right, wrong, last_wrong = Untouched(), Own(items), Own(items, change), Own(items, change, 3)
    task: Any = Detection(recipe) if recipe is MASKS else Segmentation(recipe)
    evaluate: Any = evaluate_detector if recipe is MASKS else evaluate_segmenter
    options = {"masks": True} if recipe is MASKS else {"num_classes": 9}
    return [
        lambda: train(network, wrong, right, recipe, task=task),
        lambda: train(network, last_wrong, right, recipe, task=task),
        lambda: train(network, right, wrong, recipe, task=task),
        lambda: evaluate(network, last_wrong, **options),
    ]


@pytest.mark.parametrize(
    ("recipe", "items", "faults"), [(MASKS, BOXES, IMAGES + TARGETS), (SMALL, MAPS, IMAGES + CLASSES)]
)
def test_what_does_not_fit_is_named_before_a_network_sees_it(recipe: Any, items: list[Any], faults: list[Any]) -> None:
    rows = [
        (use, rf"^item [03]:? .*{re.escape(fault)}")
        for change, fault in faults
        for use in each_use(recipe, items, change)
    ]
    assert_refused(lambda use: use(), rows)


def test_images_are_looked_at_where_nothing_is_scored_and_targets_are_not() -> None:
    assert_refused(
        lambda change: list(detect(Untouched(), Own(BOXES, change))),
        [(change, re.escape(fault)) for change, fault in IMAGES],
    )
    with pytest.raises(AssertionError, match="the network has been run"):
        list(detect(Untouched(), Own(BOXES, lambda image, target: (image, {}))))


def test_nothing_to_learn_or_to_measure_is_an_error_before_the_run() -> None:
    full, empty = Own(BOXES), Own(BOXES, emptied)
    crowds = Own(BOXES, with_("crowd", lambda it: ~it))
    maps, background = Own(MAPS), Own(MAPS, lambda image, classes: (image, classes * 0))
    binary = Own(MAPS, lambda image, classes: (image, 255 * (classes > 0)))
    objects, classes = "data must contain at least one object that is not a crowd", "data must contain a class besides"
    rows: list[tuple[Any, Any, Any, str]] = [
        (MASKS, empty, full, f"training {objects}"),
        (MASKS, crowds, full, f"training {objects}"),
        (MASKS, full, empty, f"test {objects}"),
        (MASKS, full, crowds, f"test {objects}"),
        (SMALL, background, maps, f"training {classes} the background, 0$"),
        (SMALL, binary, maps, f"training {classes} the background, 0; 255 is ignored: is it meant as a class"),
        (SMALL, maps, background, f"test {classes} the background, 0$"),
        (SMALL, maps, binary, f"test {classes} .*255 is ignored"),
    ]
    for recipe, training, test, fault in rows:
        task = Detection(recipe) if recipe is MASKS else Segmentation(recipe)
        with pytest.raises(ValueError, match=f"^{fault}"):
            train(Untouched(), training, test, recipe, task=task)


def test_a_single_object_at_the_end_is_enough_and_chance_is_left_as_it_was() -> None:
    task, empty = Detection(MASKS), [emptied(*item) for item in BOXES]
    network, before = Untouched(), torch.get_rng_state()
    for use in (task.check_test_data, lambda data: task.begin(network, data, torch.device("cpu"))):
        use(Own(empty + BOXES[:1]))
    assert torch.equal(torch.get_rng_state(), before)


def test_other_fields_are_left_out_and_rounding_is_forgiven() -> None:
    image, target = BOXES[0]
    boxes = torch.tensor([[-0.001, 0, 96.001, 96]])
    own = Own([(image, target | {"boxes": boxes, "image_id": 3, "area": torch.ones(1)})])
    found, kept = checked_detection(own, 8, masks=True)[0]
    assert found is image and set(kept) == {"boxes", "labels", "masks", "crowd"} and kept["boxes"] is boxes
    with pytest.raises(ValueError, match=r"item 0: boxes \(=\[0\.0, 0\.0, 96\.09"):
        checked_detection(Own([(image, target | {"boxes": torch.tensor([[0.0, 0, 96.1, 96]])})]), 8, masks=True)[0]


def test_a_network_that_is_no_detector_of_torchvisions_has_no_greatest_label() -> None:
    assert greatest_label(Untouched()) == 8 and greatest_label(nn.Linear(1, 1)) == sys.maxsize
