"""What is to be found in an image: the boxes and masks of its objects, or a map of its pixels' classes.

Two kinds of data set item, from which everything in this part learns:

- detection: (image uint8 (3, H, W), target); the target's ``"boxes"`` are float32 (n, 4), x1, y1, x2, y2 in pixels, its
  ``"labels"`` int64 (n,) from 1 on, its ``"masks"``, if it has any, uint8 (n, H, W) of 0 and 1, and ``"crowd"``, bool
  (n,), marks what is neither learnt nor counted: a crowd drawn as one object (COCO), an object too difficult (VOC);
- segmentation: (image uint8 (3, H, W), map int64 (H, W)): 0 is the background, 255 is ignored.

Legend: n objects, B batch, H height, W width.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

Target = dict[str, Tensor]

IGNORED = 255
"""In a map: a pixel of unknown class, from which nothing is learnt and by which nothing is measured."""


FIELDS = ("boxes", "labels", "crowd", "masks")
ROUNDING = 0.01
"""By so many pixels a box may reach out of its image: resizing rounds."""


def check_target(
    target: Target, image_size: tuple[int, int], num_classes: int, where: str, *, masks: bool = False
) -> None:
    """Raise ValueError, which begins with ``where``, unless a detection target fits its image of (height, width)
    pixels.

    It does not if a field is missing, which masks may be unless ``masks``; if one is of another type or shape than it
    must be; if a label is not from 1 to ``num_classes``; if a box is not finite, has no area, reaches out of the image
    or counts in shares of it; if masks have other values than 0 and 1.

    Example:
        >>> import torch
        >>> from resnest_edu.transfer import check_target
        >>> target = {"labels": torch.tensor([3]), "crowd": torch.tensor([False])}
        >>> target["boxes"] = torch.tensor([[10.0, 20, 90, 60]])
        >>> check_target(target, (60, 80), 8, "2.png")
        Traceback (most recent call last):
        ValueError: 2.png: boxes (=[10.0, 20.0, 90.0, 60.0]) must have an area inside 80 x 60
    """

    def require(holds: bool | Tensor, field: str, value: object, constraint: str) -> None:
        if not holds:
            raise ValueError(f"{where}: {field} (={value}) must {constraint}")

    if not isinstance(target, dict):
        raise ValueError(f"{where}: target (a {type(target).__name__}) must be a dict of tensors")
    missing = [name for name in (*FIELDS[:3], *(("masks",) if masks else ())) if name not in target]
    require(not missing, "target", ", ".join(map(str, target)), f"contain {', '.join(missing)}")
    for name in FIELDS:
        if not isinstance(target.get(name, target["labels"]), Tensor):
            raise ValueError(f"{where}: {name} (a {type(target[name]).__name__}) must be a tensor")
    count, (height, width) = target["labels"].numel(), image_size
    forms = {
        "labels": (torch.int64, (count,)),
        "boxes": (torch.float32, (count, 4)),
        "crowd": (torch.bool, (count,)),
        "masks": (torch.uint8, (count, height, width)),
    }
    for name, (dtype, shape) in forms.items():
        if name in target:
            found = target[name].dtype, tuple(target[name].shape)
            require(found == (dtype, shape), name, found, f"be {dtype} of shape {shape}")
    for label in target["labels"].tolist():
        require(1 <= label <= num_classes, "labels", label, f"be from 1 to {num_classes}")
    boxes = target["boxes"].tolist()
    for x1, y1, x2, y2 in boxes:
        require(
            -ROUNDING <= x1 < x2 <= width + ROUNDING and -ROUNDING <= y1 < y2 <= height + ROUNDING,
            "boxes",
            [x1, y1, x2, y2],
            f"have an area inside {width} x {height}",
        )
    sides = [side for box in boxes for side in box]
    shares = sides and max(sides) <= 1 and not all(side.is_integer() for side in sides)
    require(not shares, "boxes", boxes[:1], "count in pixels, not in shares of the image")
    if count and "masks" in target:
        greatest = int(target["masks"].max())
        require(greatest <= 1, "masks", greatest, "be 0 or 1")


def check_map(classes: Tensor, image_size: tuple[int, int], num_classes: int, where: str) -> None:
    """Raise ValueError, which begins with ``where``, unless a segmentation map is int64, of the image's (height,
    width), and each pixel from 0 to ``num_classes`` - 1 or 255."""
    if not isinstance(classes, Tensor):
        raise ValueError(f"{where}: map (a {type(classes).__name__}) must be a tensor")
    found = classes.dtype, tuple(classes.shape)
    if found != (torch.int64, tuple(image_size)):
        raise ValueError(f"{where}: map (={found}) must be torch.int64 of shape {tuple(image_size)}")
    if classes.numel():
        least, greatest = classes.masked_fill(classes == IGNORED, 0).aminmax()
        for value in int(least), int(greatest):
            if not 0 <= value < num_classes:
                raise ValueError(f"{where}: map (={value}) must be from 0 to {num_classes - 1}, or {IGNORED}")


def require_objects(targets: Iterable[Target], where: str) -> None:
    """Raise ValueError unless one of the targets has an object that is not a crowd: otherwise there is nothing to learn
    or to measure. It ends at the first."""
    if all(target["crowd"].all() for target in targets):
        raise ValueError(f"{where} must contain at least one object that is not a crowd")


def require_classes(maps: Iterable[Tensor], where: str) -> None:
    """Raise ValueError unless one of the maps has a class besides the background, in the same way."""
    ignored = False
    for classes in maps:
        ignored = ignored or bool((classes == IGNORED).any())
        if ((classes != 0) & (classes != IGNORED)).any():
            return
    hint = f"; {IGNORED} is ignored: is it meant as a class?" if ignored else ""
    raise ValueError(f"{where} must contain a class besides the background, 0{hint}")


def without_crowd(target: Target) -> Target:
    """The target's objects that are learnt from: all but those marked ``"crowd"``.

    Shape: each field (n, …) -> (n', …).
    """
    kept = ~target["crowd"]
    return {name: field[kept] for name, field in target.items()}


def collate_detection(items: Sequence[tuple[Tensor, Target]]) -> tuple[list[Tensor], list[Target]]:
    """A batch for a detector, whose images may differ in size: a list of images, a list of targets."""
    images, targets = zip(*items, strict=True)
    return list(images), list(targets)


def collate_segmentation(items: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """A batch for a segmenter. Shape: B items -> uint8 (B, 3, H, W), int64 (B, H, W).

    Raises:
        ValueError: the images differ in size.
    """
    images, maps = zip(*items, strict=True)
    sizes = sorted({tuple(image.shape[1:]) for image in images})
    if len(sizes) > 1:
        raise ValueError(f"images (={sizes}) of a batch must have one size: crop them, or take one at a time")
    return torch.stack(images), torch.stack(maps)
