"""What is to be found in an image: the boxes and masks of its objects, or a map of its pixels' classes.

Two kinds of data set item, from which everything in this part learns:

- detection: (image uint8 (3, H, W), target); the target's ``"boxes"`` are float32 (n, 4), x1, y1, x2, y2 in pixels, its
  ``"labels"`` int64 (n,) from 1 on, its ``"masks"``, if it has any, uint8 (n, H, W) of 0 and 1, and ``"crowd"``, bool
  (n,), marks what is neither learnt nor counted: a crowd drawn as one object (COCO), an object too difficult (VOC);
- segmentation: (image uint8 (3, H, W), map int64 (H, W)): 0 is the background, 255 is ignored.

Legend: n objects, B batch, H height, W width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Target = dict[str, Tensor]

IGNORED = 255
"""In a map: a pixel of unknown class, from which nothing is learnt and by which nothing is measured."""


def check_target(
    target: Target,
    image_size: tuple[int, int],
    num_classes: int,
    where: str,
) -> None:
    """Raise ValueError unless a detection target fits its image.

    Args:
        target: ``"boxes"``, ``"labels"``, ``"crowd"``, and ``"masks"`` if there are
            any.
        image_size: height and width in pixels.
        num_classes: the greatest label; the background, 0, is not a label.
        where: the image's name, for the message.

    Raises:
        ValueError: a field is missing, or of another type or shape than it must be; a
            label is not from 1 to ``num_classes``; a box is not finite, has no area
            or reaches out of the image; masks have not the image's size or other
            values than 0 and 1.

    Example:
        >>> import torch
        >>> from resnest_edu.transfer import check_target
        >>> target = {"labels": torch.tensor([3]), "crowd": torch.tensor([False])}
        >>> target["boxes"] = torch.tensor([[10.0, 20, 90, 60]])
        >>> check_target(target, (60, 90), 8, "1.png")
        >>> check_target(target, (60, 80), 8, "2.png")
        Traceback (most recent call last):
        ValueError: 2.png: boxes (=[10.0, 20.0, 90.0, 60.0]) must have an area inside 80 x 60
    """

    def require(holds: bool | Tensor, field: str, value: object, constraint: str) -> None:
        if not holds:
            raise ValueError(f"{where}: {field} (={value}) must {constraint}")

    missing = [name for name in ("boxes", "labels", "crowd") if name not in target]
    require(not missing, "target", ", ".join(target), f"contain {', '.join(missing)}")
    count, (height, width) = len(target["labels"]), image_size
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
    for box in target["boxes"].tolist():
        x1, y1, x2, y2 = box
        require(
            0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height,
            "boxes",
            box,
            f"have an area inside {width} x {height}",
        )
    if count and "masks" in target:
        greatest = int(target["masks"].max())
        require(greatest <= 1, "masks", greatest, "be 0 or 1")


def check_map(
    classes: Tensor,
    image_size: tuple[int, int],
    num_classes: int,
    where: str,
) -> None:
    """Raise ValueError unless a segmentation map fits its image.

    Args:
        classes: the map, int64 (H, W).
        image_size: height and width in pixels.
        num_classes: how many there are, the background among them.
        where: the image's name, for the message.

    Raises:
        ValueError: type or size is another; a pixel is neither from 0 to
            ``num_classes`` - 1 nor 255.

    Example:
        >>> import torch
        >>> from resnest_edu.transfer import check_map
        >>> classes = torch.tensor([[0, 8, 255]])
        >>> check_map(classes, (1, 3), 9, "1.png")
        >>> check_map(classes, (1, 3), 8, "2.png")
        Traceback (most recent call last):
        ValueError: 2.png: map (=8) must be from 0 to 7, or 255
    """
    found = classes.dtype, tuple(classes.shape)
    if found != (torch.int64, tuple(image_size)):
        raise ValueError(f"{where}: map (={found}) must be torch.int64 of shape {tuple(image_size)}")
    wrong = classes[(classes != IGNORED) & ((classes < 0) | (classes >= num_classes))]
    if len(wrong):
        raise ValueError(f"{where}: map (={int(wrong[0])}) must be from 0 to {num_classes - 1}, or {IGNORED}")


def without_crowd(target: Target) -> Target:
    """The target's objects that are learnt from: all but those marked ``"crowd"``.

    Shape: each field (n, …) -> (n', …).

    Example:
        >>> import torch
        >>> from resnest_edu.transfer import without_crowd
        >>> crowd = torch.tensor([False, True, False])
        >>> target = {"labels": torch.tensor([1, 2, 3]), "crowd": crowd}
        >>> without_crowd(target)["labels"]
        tensor([1, 3])
    """
    kept = ~target["crowd"]
    return {name: field[kept] for name, field in target.items()}


def collate_detection(
    items: Sequence[tuple[Tensor, Target]],
) -> tuple[list[Tensor], list[Target]]:
    """A batch for a detector, whose images may differ in size: a list of images, a
    list of targets.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> from resnest_edu.transfer import DetectionScenes, collate_detection
        >>> scenes = DetectionScenes(4)
        >>> loader = DataLoader(scenes, batch_size=4, collate_fn=collate_detection)
        >>> images, targets = next(iter(loader))
        >>> len(images), images[0].shape, len(targets)
        (4, torch.Size([3, 96, 96]), 4)
    """
    images, targets = zip(*items, strict=True)
    return list(images), list(targets)


def collate_segmentation(
    items: Sequence[tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor]:
    """A batch for a segmenter. Shape: B items -> uint8 (B, 3, H, W), int64 (B, H, W).

    Raises:
        ValueError: the images differ in size.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> from resnest_edu.transfer import SegmentationScenes, collate_segmentation
        >>> scenes = SegmentationScenes(4)
        >>> loader = DataLoader(scenes, batch_size=4, collate_fn=collate_segmentation)
        >>> images, maps = next(iter(loader))
        >>> images.shape, maps.shape
        (torch.Size([4, 3, 96, 96]), torch.Size([4, 96, 96]))
    """
    images, maps = zip(*items, strict=True)
    sizes = sorted({tuple(image.shape[1:]) for image in images})
    if len(sizes) > 1:
        raise ValueError(f"images (={sizes}) of a batch must have one size: crop them, or take one at a time")
    return torch.stack(images), torch.stack(maps)
