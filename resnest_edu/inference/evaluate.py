"""How good a trained network is on images whose answers are known, measured as in training."""

import math
import re
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import ConcatDataset, Dataset

from resnest_edu import PUBLISHED
from resnest_edu.arguments import require_one_of
from resnest_edu.data import cifar10, open_image_folder
from resnest_edu.inference.trained_model import TrainedModel
from resnest_edu.training.augmentation import test_transform
from resnest_edu.training.evaluation import logits_and_labels, together
from resnest_edu.transfer.annotated_folders import open_detection_folder, open_segmentation_folder
from resnest_edu.transfer.joint_augmentation import detection_transform, segmentation_transform
from resnest_edu.transfer.tasks import evaluate_detector, evaluate_segmenter

PARTITIONS = ("test", "val", "train", "all")


def open_partition(
    model: TrainedModel, folder: str | Path, partition: str = "test", *, skip_broken: bool = False
) -> Dataset:
    """Images to measure a network on, as it measured its own in training.

    Args:
        model: see :func:`open_model`; its classes must be those of the folder.
        folder: what training would take: for a classifier :func:`resnest_edu.data.open_image_folder` or CIFAR-10, for
            others :func:`resnest_edu.transfer.open_detection_folder`.
        partition: ``"test"``, which a run measures; ``"val"``, the same where there are but two; ``"train"``; or
            ``"all"`` together, for a folder of which training would hold a tenth out.
        skip_broken: leave out a classifier's images that cannot be read.

    Raises:
        ValueError: the folder is not such a one, its classes are others, or there is no such partition.
    """
    require_one_of("partition", partition, PARTITIONS)
    splits = _splits(model.recipe, Path(folder), skip_broken)
    ours, theirs = model.classes, splits.classes
    # ImageNet's folders bear WordNet's numbers, in the order of the published weights.
    numbers = len(theirs) == 1000 and all(re.fullmatch(r"n\d{8}", name) for name in theirs)
    if ours != theirs and not (numbers and ours == PUBLISHED["resnest50"].classes):
        missing, unknown = (sorted(set(one) - set(other))[:5] for one, other in ((ours, theirs), (theirs, ours)))
        raise ValueError(f"classes of {folder} must be the model's, in order: missing {missing}, unknown {unknown}")
    if partition == "all":
        parts = [getattr(splits, name, None) for name in ("train", "val", "test")]
        return ConcatDataset([part for part in parts if part is not None])
    part = getattr(splits, partition, None)
    return splits.test if part is None else part


def _splits(recipe: Any, folder: Path, skip_broken: bool) -> Any:
    size = recipe.image_size
    if recipe.task == "detection":
        resize = (detection_transform(False, size=size),) * 2
        return open_detection_folder(folder, masks=recipe.masks, transforms=resize)
    if recipe.task == "segmentation":
        return open_segmentation_folder(folder, transforms=(segmentation_transform(False, size=size),) * 2)
    if (folder / "cifar-10-batches-py").is_dir() and not recipe.crop:
        return cifar10(folder, size=size)
    transform = test_transform(recipe)
    return open_image_folder(folder, size=size, transforms=(transform, transform), skip_broken=skip_broken)


def evaluate_model(model: TrainedModel, data: Dataset, *, workers: int = 0) -> dict[str, Any]:
    """How good a network is, as plain values for JSON: fractions, None where there is nothing to divide by.

    Args:
        model: see :func:`open_model`.
        data: items are (image uint8 (3, H, W), truth), such as :func:`open_partition` gives.
        workers: processes that read images.

    Returns:
        Of a classifier ``top1``, ``top5`` (of at least six classes), ``loss``, the mean cross-entropy in nats,
        ``classes``, each with its ``images`` and ``accuracy``, and ``confusion``, a row of counts for each true class;
        of a detector what :meth:`resnest_edu.transfer.DetectionScore.compute` gives; of a segmenter ``mean_iou``,
        ``pixel_accuracy`` and ``classes``, each with its ``iou``.

    Raises:
        ValueError: an image or its truth is not as above; the message names it.
        ImportError: for detection and segmentation, torchmetrics or pycocotools is not installed.

    Example:
        >>> from resnest_edu.data import ShapesDataset
        >>> from resnest_edu.inference import TrainedModel, evaluate_model
        >>> from resnest_edu.training import TensorImages, get_recipe
        >>> recipe, shapes = get_recipe("shapes"), ShapesDataset(16, split="test")
        >>> model = TrainedModel(recipe.build(8).eval(), recipe, shapes.classes)
        >>> figures = evaluate_model(model, TensorImages(*shapes.tensors()))
        >>> list(figures), sum(map(sum, figures["confusion"]))
        (['top1', 'top5', 'loss', 'classes', 'confusion'], 16)
    """
    recipe: Any = model.recipe
    network, names = model.network, model.classes
    options: dict[str, Any] = {"workers": workers, "batch_size": together(recipe, most=16)}
    if recipe.task == "detection":
        with model.half_precision():
            found = evaluate_detector(network, data, masks=recipe.masks, **options).compute()
        return {name: _number(value) for name, value in found.items()}
    if recipe.task == "segmentation":
        with model.half_precision():
            score = evaluate_segmenter(network, data, len(names), **options)
        figures: dict[str, Any] = {name: _number(value) for name, value in score.compute().items()}
        ious = zip(names, score.class_iou(), strict=True)
        return figures | {"classes": [{"class": name, "iou": _number(iou)} for name, iou in ious]}
    count, loss, five = len(names), torch.zeros((), device=model.device), 0
    confusion = torch.zeros(count, count, dtype=torch.int64)
    with model.half_precision():
        for logits, labels in logits_and_labels(network, data, workers=workers, batch_size=together(recipe)):
            loss += F.cross_entropy(logits, labels, reduction="sum")
            five += int((logits.topk(min(5, count)).indices == labels[:, None]).sum())
            confusion += (labels * count + logits.argmax(1)).cpu().bincount(minlength=count**2).view(count, count)
    images, right = confusion.sum(1), confusion.diagonal()
    total = int(images.sum())
    rows = zip(names, images.tolist(), (right / images).tolist(), strict=True)
    return {
        "top1": int(right.sum()) / total,
        "top5": five / total if count > 5 else None,
        "loss": float(loss) / total,
        "classes": [{"class": name, "images": held, "accuracy": _number(share)} for name, held, share in rows],
        "confusion": confusion.tolist(),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
