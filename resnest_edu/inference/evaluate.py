"""``evaluate``: how good a trained network is on images whose answers are known."""

import argparse
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import ConcatDataset, Dataset

from resnest_edu.arguments import require_in_range, require_one_of
from resnest_edu.data import SHAPE_CLASSES, cifar10, open_image_folder
from resnest_edu.inference.command import build_parser, open_for, require_for, run_command
from resnest_edu.inference.trained_model import TrainedModel, imagenet_classes
from resnest_edu.training.augmentation import test_transform
from resnest_edu.training.batches import shapes_data
from resnest_edu.training.evaluation import evaluate_classifier, together
from resnest_edu.training.recipe import Recipe
from resnest_edu.transfer.annotated_folders import open_detection_folder, open_segmentation_folder
from resnest_edu.transfer.annotated_scenes import SegmentationScenes
from resnest_edu.transfer.joint_augmentation import detection_transform, segmentation_transform
from resnest_edu.transfer.partitions import scene_splits
from resnest_edu.transfer.tasks import evaluate_detector, evaluate_segmenter
from resnest_edu.transfer.transfer_recipes import DetectionRecipe, TransferRecipe

PARTITIONS = ("test", "val", "train", "all")
FEW = 12
"""Of no more classes than this the whole confusion matrix is printed; of more, its ten greatest errors."""


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
    recipe, folder = model.recipe, Path(folder)
    splits: Any
    both: Any
    if isinstance(recipe, Recipe):
        if not recipe.crop and (folder / "cifar-10-batches-py").is_dir():
            splits = cifar10(folder, size=recipe.image_size)
        else:
            both = (test_transform(recipe),) * 2
            splits = open_image_folder(folder, size=recipe.image_size, transforms=both, skip_broken=skip_broken)
    elif isinstance(recipe, DetectionRecipe):
        both = (detection_transform(False, size=recipe.image_size),) * 2
        splits = open_detection_folder(folder, masks=recipe.masks, transforms=both)
    else:
        both = (segmentation_transform(False, size=recipe.image_size),) * 2
        splits = open_segmentation_folder(folder, transforms=both)
    _require_classes(model, splits.classes, folder)
    parts = {name: getattr(splits, name, None) for name in ("train", "val", "test")}
    held = {name: part for name, part in parts.items() if part is not None}
    return ConcatDataset(held.values()) if partition == "all" else held.get(partition, splits.test)


def _require_classes(model: TrainedModel, classes: tuple[str, ...], folder: Path) -> None:
    numbers = len(classes) == 1000 and all(re.fullmatch(r"n\d{8}", name) for name in classes)
    if classes == model.classes or (numbers and model.classes == imagenet_classes()):  # WordNet's, in the same order
        return
    lacking, unknown = (
        ", ".join(sorted(ones)[:5]) + ", …" * (len(ones) > 5)
        for ones in (set(model.classes) - set(classes), set(classes) - set(model.classes))
    )
    differ = f"missing {lacking or 'none'}, not the model's {unknown or 'none'}"
    raise ValueError(f"classes of {folder} must be those of the model: {differ if lacking or unknown else 'in order'}")


def evaluate_model(model: TrainedModel, data: Dataset, *, workers: int = 0) -> dict[str, Any]:
    """How good a network is, as plain values for JSON: fractions, and None where there is nothing to divide by.

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
    network, recipe, figures = model.network, model.recipe, dict[str, Any]()
    options: dict[str, Any] = {"workers": workers}
    if isinstance(recipe, Recipe):
        score = evaluate_classifier(network, data, batch_size=together(recipe), **options)
        counts = score.confusion.sum(1).tolist()
        rows = zip(model.classes, counts, map(_number, score.per_class), strict=True)
        figures = {"top1": score.top1, "top5": score.top5, "loss": score.loss}
        figures["classes"] = [{"class": name, "images": count, "accuracy": share} for name, count, share in rows]
        return figures | {"confusion": score.confusion.tolist()}
    options["batch_size"] = together(recipe, most=16)
    if isinstance(recipe, DetectionRecipe):
        found = evaluate_detector(network, data, masks=recipe.masks, **options).compute()
        return {name: _number(value) for name, value in found.items()}
    segmented = evaluate_segmenter(network, data, len(model.classes), **options)
    figures = {name: _number(value) for name, value in segmented.compute().items()}
    ious = zip(model.classes, map(_number, segmented.class_iou()), strict=True)
    return figures | {"classes": [{"class": name, "iou": iou} for name, iou in ious]}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _shown(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if name == "loss" else f"{100 * value:.2f} %"
    return "-" if value is None else str(value)


def report(figures: dict[str, Any]) -> Iterator[str]:
    """What :func:`evaluate_model` gives, for reading: lines."""
    rows, confusion = figures.get("classes", []), figures.get("confusion", [])
    numbers = {name: value for name, value in figures.items() if not isinstance(value, list) and value is not None}
    yield ", ".join(f"{name} {_shown(name, value)}" for name, value in numbers.items())
    names = [row["class"] for row in rows]
    if confusion and len(rows) > FEW:
        counts = Counter({(i, j): n for i, row in enumerate(confusion) for j, n in enumerate(row) if n and i != j})
        for (true, taken), count in counts.most_common(10):
            yield f"{names[true]} taken for {names[taken]}: {count} of {rows[true]['images']}"
    elif rows:
        table = [[*rows[0], *(f"as {name}" for name in names if confusion)]]
        for number, row in enumerate(rows):
            more = confusion[number] if confusion else []
            table.append([*(_shown(name, value) for name, value in row.items()), *map(str, more)])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for first, *others in table:
            cells = [first.ljust(widths[0]), *(one.rjust(w) for one, w in zip(others, widths[1:], strict=True))]
            yield "  ".join(cells)


def options() -> argparse.ArgumentParser:
    parser = build_parser(
        "evaluate",
        "Measure a trained network on images whose answers are known, as training does: a classifier's accuracy, "
        "cross-entropy and confusions, a detector's average precision, a segmenter's intersection over union.",
        "python -m resnest_edu.training evaluate runs/mine --data FOLDER",
        "The classes of the folder must be those of the model.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="as for training: with the partitions train, test and val, or a folder for each class, of which training "
        "holds a tenth out as the test set (default: the embedded shapes)",
    )
    parser.add_argument(
        "--partition",
        metavar="{" + ",".join(PARTITIONS) + "}",
        default="test",
        help="which images: test (the default), as a run measures at its end, val, which is the same where there are "
        "but two partitions, train, or all of them",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the embedded shapes (default: 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes that read images (default: 2)")
    parser.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be read")
    return parser


def run(arguments: argparse.Namespace) -> int:
    partition = arguments.partition
    require_one_of("--partition", partition, PARTITIONS)
    require_in_range("--workers", arguments.workers, 0)
    if arguments.data is not None and not arguments.data.is_dir():
        raise ValueError(f"--data (={str(arguments.data)!r}) must be a folder")
    model = open_for(arguments)
    require_for(model, arguments, skip_broken=["classification"])
    if arguments.data is not None:
        data = open_partition(model, arguments.data, partition, skip_broken=arguments.skip_broken)
    else:
        data = _embedded(model, partition, arguments.seed)
    figures = evaluate_model(model, data, workers=arguments.workers)
    count, classes, size = len(data), len(model.classes), model.recipe.image_size  # type: ignore[arg-type]
    if arguments.json:
        print(json.dumps({"images": count, "partition": partition, **figures}))
        return 0
    which = {"all": "images"}.get(partition, f"{partition} images")
    print(f"{count:,} {which} of {classes} classes, {size} pixels, on {model.device}")
    print(*report(figures), sep="\n")
    return 0


def _embedded(model: TrainedModel, partition: str, seed: int) -> Dataset:
    """The test scenes of a run that was given no folder."""
    recipe: Any = model.recipe
    transfers = isinstance(recipe, TransferRecipe)
    drawn = SegmentationScenes.classes if recipe.task == "segmentation" else SHAPE_CLASSES
    if partition != "test" or model.classes != drawn or (not transfers and recipe.crop):
        raise ValueError("--data (=None) must be a folder, but for the test images of a run on the embedded shapes")
    return scene_splits(recipe, seed).test if transfers else shapes_data(recipe, seed)[1]


def main(argv: Sequence[str]) -> int:
    return run_command(options(), run, argv)
