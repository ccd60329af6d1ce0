"""Detection and segmentation as the training loop sees them: batches, loss, measure.

Legend: B batch, H height, W width.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from resnest_edu.arguments import require_extra
from resnest_edu.training.augmentation import normalize
from resnest_edu.training.batches import Plan, evaluation_batches, training_batches
from resnest_edu.training.distributed import ALONE, Group
from resnest_edu.training.evaluation import evaluation_mode, together
from resnest_edu.training.task import EpochMetrics, Task, half_precision
from resnest_edu.transfer.annotations import (
    IGNORED,
    Target,
    collate_detection,
    collate_segmentation,
    require_classes,
    require_objects,
    without_crowd,
)
from resnest_edu.transfer.checked_items import CheckedItems, checked_detection, checked_segmentation
from resnest_edu.transfer.detection import greatest_label
from resnest_edu.transfer.metrics import DetectionScore, SegmentationScore
from resnest_edu.transfer.transfer_recipes import DetectionRecipe, SegmentationRecipe


@dataclass(frozen=True, kw_only=True)
class DetectionMetrics(EpochMetrics):
    """One line of ``metrics.jsonl``: mean average precisions by COCO's definition, as fractions; those of masks are
    None where the detector finds none."""

    score_name: ClassVar[str] = "box_map"
    score_title: ClassVar[str] = "box mAP"

    box_map: float
    box_map50: float
    box_map75: float
    mask_map: float | None = None
    mask_map50: float | None = None
    mask_map75: float | None = None


@dataclass(frozen=True, kw_only=True)
class SegmentationMetrics(EpochMetrics):
    """One line of ``metrics.jsonl``: shares of pixels, as fractions."""

    score_name: ClassVar[str] = "mean_iou"
    score_title: ClassVar[str] = "mean IoU"

    mean_iou: float
    pixel_accuracy: float


@torch.inference_mode()
def detect(
    model: nn.Module, data: Dataset, *, batch_size: int = 16, workers: int = 0, group: Group = ALONE
) -> Iterator[tuple[list[Target], list[Target]]]:
    """Yield what a detector finds in this process's part of the images, and what there is, batch by batch, on the CPU.

    The detector is in evaluation mode until the last batch, or until the caller stops.

    Args:
        model: see :func:`~resnest_edu.transfer.create_detector`.
        data: items are (image uint8 (3, H, W), target).
        batch_size: how many images to look at together.
        workers: processes that read the data.
        group: the processes that share the images.

    Yields:
        A list of what is found in each image (``boxes``, ``labels``, ``scores``, perhaps ``masks``), a list of targets.

    Raises:
        ValueError: an image is not as above.
    """
    device = next(model.parameters()).device
    options: dict[str, Any] = {"workers": workers, "group": group, "collate": collate_detection}
    batches: Any = evaluation_batches(CheckedItems(data), batch_size, **options)
    with evaluation_mode(model):
        for images, targets in batches:
            found = model([normalize(image.to(device)) for image in images])
            yield [{name: value.cpu() for name, value in one.items()} for one in found], targets


def evaluate_detector(
    model: nn.Module, data: Dataset, *, masks: bool = False, group: Group = ALONE, **options: int
) -> DetectionScore:
    """The score of a detector on all images; several processes share them.

    Args:
        model, data, group: as for :func:`detect`.
        masks: measure masks as well as boxes.
        options: ``batch_size`` and ``workers``, as there.

    Raises:
        ValueError: an image is not as there, or a target not as :func:`~resnest_edu.transfer.check_target` wants it.
        ImportError: torchmetrics or pycocotools is not installed.

    Example:
        >>> from resnest_edu.transfer import TRANSFER_RECIPES, DetectionScenes, evaluate_detector
        >>> detector = TRANSFER_RECIPES["detect-shapes"].build(8)
        >>> 0 <= evaluate_detector(detector, DetectionScenes(2, split="test")).compute()["box_map"] <= 1
        True
    """
    score = DetectionScore(masks=masks, group=group)
    checked = checked_detection(data, greatest_label(model), masks=masks)
    for found, targets in detect(model, checked, group=group, **options):
        score.update(found, targets)
    return score


def truths(data: Any) -> Iterator[Any]:
    """What is to be found in each image; chance is left as it was, for an item may draw from it."""
    for index in range(len(data)):
        with torch.random.fork_rng([]):
            _, truth = data[index]
        yield truth


class Detection(Task):
    """Boxes, and masks if the recipe's detector finds them. Items are (image uint8 (3, H, W), target): each is checked
    when it is read, and before a run that there is an object to learn and one to find.

    Raises:
        ImportError: torchmetrics or pycocotools is not installed.
    """

    metrics = DetectionMetrics

    def __init__(self, recipe: DetectionRecipe) -> None:
        require_extra("torchmetrics", "pycocotools")  # now, and not when the first epoch is over
        self.recipe, self.greatest_label = recipe, sys.maxsize

    def begin(self, model: nn.Module, data: Dataset, device: torch.device) -> None:
        self.greatest_label = greatest_label(model)
        require_objects(truths(self._checked(data)), "training data")

    def check_test_data(self, data: Dataset, name: str = "test_data") -> None:
        require_objects(truths(self._checked(data)), name.replace("_", " "))

    def _checked(self, data: Dataset) -> Dataset:
        return checked_detection(data, self.greatest_label, masks=self.recipe.masks)

    def batches(self, data: Dataset, plan: Plan, *, first: int, workers: int, pin_memory: bool) -> Iterator[Any]:
        options: dict[str, Any] = {"first": first, "workers": workers, "pin_memory": pin_memory}
        return training_batches(self._checked(data), plan, collate=collate_detection, **options)

    def step(
        self,
        network: Any,
        batch: tuple[list[Tensor], list[Target]],
        *,
        count: int,
        device: torch.device,
        generator: torch.Generator,
    ) -> tuple[Tensor, tuple[()]]:
        images = [normalize(image.to(device, non_blocking=True)) for image in batch[0]]
        kept = [without_crowd(target) for target in batch[1]]
        targets = [{name: value.to(device, non_blocking=True) for name, value in one.items()} for one in kept]
        with half_precision(device, self.recipe.precision):
            losses = network(images, targets)
        # Each is a mean over boxes; images weigh the same whichever process has them.
        return sum(losses.values()) * len(images) / count, ()

    def measure(self, model: nn.Module, data: Dataset, *, workers: int, group: Group) -> dict[str, float]:
        options: dict[str, Any] = {"batch_size": together(self.recipe, group, most=16), "workers": workers}
        score = evaluate_detector(model, data, masks=self.recipe.masks, group=group, **options).compute()
        return {name: value for name, value in score.items() if name in DetectionMetrics.__dataclass_fields__}


@torch.inference_mode()
def evaluate_segmenter(
    model: nn.Module, data: Dataset, num_classes: int, *, batch_size: int = 16, workers: int = 0, group: Group = ALONE
) -> SegmentationScore:
    """The score of a segmenter on all images, which may differ in size; several processes share them.

    Args:
        model: see :func:`~resnest_edu.transfer.create_segmenter`.
        data: items are (image uint8 (3, H, W), map int64 (H, W)).
        num_classes: from 2 to 255, the background among them.
        batch_size, workers, group: as for :func:`detect`.

    Raises:
        ValueError: ``num_classes`` is out of range, or an image or a map is not as above.
        ImportError: torchmetrics is not installed.
    """
    device = next(model.parameters()).device
    score = SegmentationScore(num_classes, group=group, device=device)
    checked = checked_segmentation(data, num_classes)
    batches = evaluation_batches(checked, batch_size, workers=workers, group=group, collate=stack_by_size)
    with evaluation_mode(model):
        for images, classes in chain.from_iterable(batches):
            logits = model(normalize(images.to(device)))["out"]
            score.update(logits.argmax(1), classes.to(device))
    return score


def stack_by_size(items: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """A batch of segmentation items, those of one size together: each (uint8 (B, 3, H, W), int64 (B, H, W))."""
    groups = defaultdict(list)
    for item in items:
        groups[item[0].shape].append(item)
    return [collate_segmentation(group) for group in groups.values()]


class Segmentation(Task):
    """A class for every pixel. Items are (image uint8 (3, H, W), map int64 (H, W)), in training all of one size: each
    is checked when it is read, and before a run that there is a class to learn and one to find.

    Raises:
        ImportError: torchmetrics is not installed.
    """

    metrics = SegmentationMetrics

    def __init__(self, recipe: SegmentationRecipe) -> None:
        require_extra("torchmetrics")
        self.recipe = recipe
        self.classes = 0

    def begin(self, model: nn.Module, data: Dataset, device: torch.device) -> None:
        head: Any = model.get_submodule("classifier")
        self.classes = head[-1].out_channels
        require_classes(truths(checked_segmentation(data, self.classes)), "training data")

    def check_test_data(self, data: Dataset, name: str = "test_data") -> None:
        require_classes(truths(checked_segmentation(data, self.classes)), name.replace("_", " "))

    def batches(self, data: Dataset, plan: Plan, *, first: int, workers: int, pin_memory: bool) -> Iterator[Any]:
        options: dict[str, Any] = {"first": first, "workers": workers, "pin_memory": pin_memory}
        checked = checked_segmentation(data, self.classes)
        return training_batches(checked, plan, collate=collate_segmentation, **options)

    def step(
        self,
        network: Any,
        batch: tuple[Tensor, Tensor],
        *,
        count: int,
        device: torch.device,
        generator: torch.Generator,
    ) -> tuple[Tensor, tuple[()]]:
        images, classes = (one.to(device, non_blocking=True) for one in batch)
        with half_precision(device, self.recipe.precision):
            logits = network(normalize(images).contiguous(memory_format=torch.channels_last))
        loss = pixel_loss(logits["out"], classes)
        if "aux" in logits:
            loss = loss + self.recipe.auxiliary * pixel_loss(logits["aux"], classes)
        return loss * len(images) / count, ()

    def measure(self, model: nn.Module, data: Dataset, *, workers: int, group: Group) -> dict[str, float]:
        options: dict[str, Any] = {"batch_size": together(self.recipe, group, most=16), "workers": workers}
        return evaluate_segmenter(model, data, self.classes, group=group, **options).compute()


def pixel_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean cross-entropy over all pixels that have a class. Shape: (B, classes, H, W), (B, H, W) -> ()."""
    known = (classes != IGNORED).sum().clamp(min=1)  # the mean over none would not be a number
    return F.cross_entropy(logits.float(), classes, ignore_index=IGNORED, reduction="sum") / known
