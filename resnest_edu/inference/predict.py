"""``predict``: what a trained network makes of image files.

Legend: n objects, C classes, H height, W width of an image as it is in its file.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from resnest_edu.arguments import require_in_range, require_positive_int
from resnest_edu.data.image_files import load_image, readable_endings
from resnest_edu.inference.command import build_parser, open_for, require_for, run_command
from resnest_edu.inference.drawing import draw
from resnest_edu.inference.trained_model import TrainedModel
from resnest_edu.training.augmentation import normalize, test_transform
from resnest_edu.training.evaluation import predict, together
from resnest_edu.training.recipe import Recipe
from resnest_edu.training.run_state import require_writable
from resnest_edu.training.task import half_precision
from resnest_edu.transfer.joint_augmentation import detection_transform, segmentation_transform

NUMBERS = {"classification": "probability", "detection": "score", "segmentation": "share"}
"""By the task: which number comes with a class."""


def predict_images(
    model: TrainedModel, images: Sequence[Image.Image], *, threshold: float = 0.5
) -> list[dict[str, Tensor]]:
    """What a network makes of images of any size, which come to it as its recipe measures images.

    Args:
        model: see :func:`open_model`.
        images: in RGB, as :func:`resnest_edu.data.load_image` gives them; a classifier sees them all together.
        threshold: the least score of a detector's objects.

    Returns:
        For each image, on the CPU: of a classifier ``"probabilities"``, float32 (C,); of a detector ``"boxes"``, (n, 4)
        in pixels of the image, ``"labels"``, from 1 on, ``"scores"`` (n,), falling, and, if it finds them, ``"masks"``,
        bool (n, H, W); of a segmenter ``"map"``, int64 (H, W), the class of each pixel.

    Example:
        >>> from PIL import Image
        >>> from resnest_edu.inference import TrainedModel, predict_images
        >>> from resnest_edu.training import get_recipe
        >>> recipe = get_recipe("shapes")
        >>> model = TrainedModel(recipe.build(2).eval(), recipe, ("cat", "dog"))
        >>> [found] = predict_images(model, [Image.new("RGB", (640, 480))])
        >>> found["probabilities"].shape
        torch.Size([2])
    """
    if isinstance(model.recipe, Recipe):
        transform = test_transform(model.recipe)
        batch = torch.stack([transform(image) for image in images])
        return [{"probabilities": one} for one in predict(model.network, batch)]
    return [_locate(model, image, threshold) for image in images]


@torch.inference_mode()
def _locate(model: TrainedModel, image: Image.Image, threshold: float) -> dict[str, Tensor]:
    """What a detector or segmenter finds where in an image."""
    pixels, size, detects = pil_to_tensor(image), model.recipe.image_size, model.recipe.task == "detection"
    sides = height, width = tuple(pixels.shape[1:])
    resized: Tensor
    if detects:
        resized, _ = detection_transform(False, size=size)(pixels, {"boxes": torch.zeros(0, 4)})
    else:
        resized, _ = segmentation_transform(False, size=size)(pixels, torch.zeros(sides))
    inputs = normalize(resized.to(model.device))
    with half_precision(model.device):
        found = model.network([inputs])[0] if detects else model.network(inputs[None])
    if not detects:
        classes = found["out"].argmax(1, keepdim=True).to(torch.uint8)  # of which there are at most 255
        return {"map": F.interpolate(classes, sides, mode="nearest-exact")[0, 0].long().cpu()}
    found = {name: value[found["scores"] >= threshold].cpu() for name, value in found.items()}
    found["boxes"] *= torch.tensor([width, height] * 2) / torch.tensor([*resized.shape[:0:-1]] * 2)
    if "masks" in found:  # one by one: in a photograph all together are large
        masks = [F.interpolate(mask[None].float(), sides, mode="bilinear")[0] > 0.5 for mask in found["masks"]]
        found["masks"] = torch.cat([torch.zeros(0, *sides, dtype=torch.bool), *masks])
    return found


def describe(model: TrainedModel, found: dict[str, Tensor], *, top: int = 5) -> list[dict[str, Any]]:
    """What was found in an image, as plain values for JSON, the most certain or the largest first.

    Args:
        model: which found it.
        found: see :func:`predict_images`.
        top: so many of a classifier's classes.

    Returns:
        Of a classifier ``class``, its name, and ``probability``; of a detector ``class``, ``score`` and ``box``, x1,
        y1, x2, y2 in pixels; of a segmenter ``class`` and ``share`` of the pixels, for each class that has any.
    """
    number = NUMBERS[model.recipe.task]
    if "boxes" in found:
        objects = zip(*(found[name].tolist() for name in ("labels", "scores", "boxes")), strict=True)
        return [{"class": model.classes[label - 1], number: score, "box": box} for label, score, box in objects]
    counted = found["map"].flatten().bincount(minlength=len(model.classes)) if "map" in found else None
    shares = found["probabilities"] if counted is None else counted / counted.sum()
    values, labels = shares.sort(descending=True, stable=True)
    rows = zip(labels.tolist(), values.tolist(), strict=True)
    listed = [{"class": model.classes[label], number: value} for label, value in rows]
    return listed[:top] if counted is None else [one for one in listed if one[number]]


def image_files(given: Sequence[Path]) -> list[tuple[Path, Path]]:
    """The files that were named, and those in and below folders that end as images do, without hidden ones; each with
    its place below the folder."""

    def below(folder: Path) -> Iterator[Path]:
        for where, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if name[0] != ".")
            for name in sorted(names):
                if name[0] != "." and Path(name).suffix.lower() in endings:
                    yield Path(where, name)

    endings, found = readable_endings(), []
    for one in given:
        if not one.exists():
            raise ValueError(f"image (={str(one)!r}) must be a file or a folder")
        inside = [(file, file.relative_to(one)) for file in below(one)] if one.is_dir() else [(one, Path(one.name))]
        if not inside:
            raise ValueError(f"image (={str(one)!r}) must be a folder with images")
        found += inside
    return found


def options() -> argparse.ArgumentParser:
    parser = build_parser(
        "predict",
        "Say what a trained network makes of images of any size, a line each: a classifier's most probable classes, a "
        "detector's objects with their boxes, a segmenter's classes with their shares of the pixels.",
        "python -m resnest_edu.training predict runs/mine photo.jpg more/",
        "An image that cannot be read is told on the error output; the others go on, and the status is 2 at the end.",
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a file, or a folder with all below it")
    parser.add_argument("--top", type=int, help="so many classes of a classifier (default: 5)")
    parser.add_argument("--threshold", type=float, help="least score of a detector's objects (default: 0.5)")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="draw boxes and masks, or maps, into images in this folder (PNG)"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    files = image_files(arguments.images)
    model = open_for(arguments)
    require_for(model, arguments, top=["classification"], threshold=["detection"], out=["detection", "segmentation"])
    top = 5 if arguments.top is None else arguments.top
    threshold = 0.5 if arguments.threshold is None else arguments.threshold
    require_positive_int(**{"--top": top})
    require_in_range("--threshold", threshold, 0, 1)
    if arguments.out is not None:
        drawn = [(arguments.out / place).with_suffix(".png") for _, place in files]
        taken = Counter(path.resolve() for path in drawn) + Counter({file.resolve() for file, _ in files})
        if twice := [path for path in drawn if taken[path.resolve()] > 1]:
            raise ValueError(f"--out (={str(arguments.out)!r}) must have a place for each image; {twice[0]} is taken")
        require_writable(arguments.out)
    status, number = 0, NUMBERS[model.recipe.task]
    at_once = together(model.recipe, most=16 if isinstance(model.recipe, Recipe) else 1)  # they are large in memory
    for start in range(0, len(files), at_once):
        read = []
        for file, place in files[start : start + at_once]:
            try:
                read.append((file, place, load_image(file)))
            except ValueError as error:
                print(f"error: {error}", file=sys.stderr)
                status = 2
        every = predict_images(model, [image for *_, image in read], threshold=threshold) if read else []
        for (file, place, image), found in zip(read, every, strict=True):
            rows = describe(model, found, top=top)
            words = [f"{row['class']} {100 * row[number]:.1f} %{_at(row.get('box'))}" for row in rows]
            row = {"file": str(file), "predictions": rows}
            print(json.dumps(row) if arguments.json else f"{file}: {', '.join(words) or 'nothing'}", flush=True)
            if arguments.out is not None:
                path = (arguments.out / place).with_suffix(".png")
                path.parent.mkdir(parents=True, exist_ok=True)
                draw(model, image, found).save(path)
    return status


def _at(box: list[float] | None) -> str:
    return f" at ({', '.join(f'{side:.0f}' for side in box)})" if box else ""


def main(argv: Sequence[str]) -> int:
    return run_command(options(), run, argv)
