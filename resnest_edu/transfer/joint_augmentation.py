"""What chance does to an image and, so that they still fit it, to its boxes, masks or map: torchvision's transforms.

All of it is drawn from PyTorch's global generator, which the training loop seeds for each image.

Legend: H height, W width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from resnest_edu.arguments import require_in_range, require_positive_int
from resnest_edu.training.augmentation import MEAN
from resnest_edu.transfer.annotations import IGNORED, Target

LONGEST = 1333
"""Of the longer side, in pixels, as torchvision's detectors have it: strips would take any amount of memory."""


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Tensor)


@dataclass(frozen=True)
class DetectionTransform:
    """Torchvision's ``steps`` for a detection item; see :func:`~resnest_edu.transfer.detection_transform`.

    Shape: uint8 (3, H, W), target -> uint8 (3, H', W'), target.
    """

    steps: nn.Module

    def __call__(self, image: Tensor, target: Target) -> tuple[Tensor, Target]:
        size = tuple(image.shape[1:])
        boxes = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=size)
        typed = {**target, "boxes": boxes}
        if "masks" in target:
            typed["masks"] = tv_tensors.Mask(target["masks"])
        image, typed = self.steps(tv_tensors.Image(image), typed)
        return _plain(image), {name: _plain(field) for name, field in typed.items()}


@dataclass(frozen=True)
class SegmentationTransform:
    """Torchvision's ``steps`` for a segmentation item; see :func:`~resnest_edu.transfer.segmentation_transform`.

    Shape: uint8 (3, H, W), int64 (H, W) -> uint8 (3, H', W'), int64 (H', W').
    """

    steps: nn.Module

    def __call__(self, image: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        image, classes = self.steps(tv_tensors.Image(image), tv_tensors.Mask(classes))
        return _plain(image), _plain(classes)


class ResizeShorterSide(nn.Module):
    """Resize an image, and what belongs to it, by its shorter side.

    Args:
        size: of that side, in pixels; two numbers to draw it from the first up to, not including, the second.
        longest: what the longer side may have at most; then the shorter one has less.
    """

    def __init__(self, size: int | tuple[int, int], longest: int) -> None:
        super().__init__()
        self.size, self.longest = size, longest

    def forward(self, image: Tensor, truth: Any) -> Any:
        size = self.size if isinstance(self.size, int) else int(torch.randint(*self.size, ()))
        height, width = image.shape[1:]
        short, long = sorted((height, width))
        if size * long <= self.longest * short:
            return v2.Resize(size)(image, truth)
        shortest = max(1, self.longest * short // long)
        return v2.Resize((shortest, self.longest) if height < width else (self.longest, shortest))(image, truth)


def detection_transform(train: bool, *, flip: bool = True, size: int | None = None) -> DetectionTransform:
    """What happens to a detection item: its shorter side is resized, and in training it is mirrored with probability
    1/2.

    Shape: uint8 (3, H, W), target -> the same, with another H and W if resized.

    Args:
        train: without it nothing is left to chance.
        flip: mirror in training.
        size: of the shorter side, in pixels; less where the longer one would have more than 1333, or than 5/3 ``size``.
            ``None`` leaves the image's own.

    Raises:
        ValueError: ``size`` is not as above.
    """
    return DetectionTransform(_compose(*_resize(size, 5 / 3), *_mirror(train and flip)))


def segmentation_transform(
    train: bool,
    *,
    size: int | None = None,
    flip: bool = True,
    scale: tuple[float, float] = (0.5, 2.0),
) -> SegmentationTransform:
    """What happens to a segmentation item.

    In training the shorter side is resized to ``size`` times a random scale, the image is mirrored with probability
    1/2, and a random square of ``size`` is cut out; where the image is too small for it, the mean colour is added
    around it, whose class is ignored (255). For the test the shorter side is resized to ``size``. Both get less where
    the longer side would have more than 1333 pixels, or than twice the greatest size of the shorter one. Maps are
    resized to the nearest pixel: a class between two others is neither.

    Shape: uint8 (3, H, W), int64 (H, W) -> the same; in training H = W = ``size``.

    Args:
        train: without it nothing is left to chance.
        size: in pixels; ``None``, for the test alone, leaves the image's own.
        flip: mirror in training.
        scale: least and greatest scale in training.

    Raises:
        ValueError: an argument is not as above.
    """
    if not train:
        return SegmentationTransform(_compose(*_resize(size, 2)))
    if size is None:
        raise ValueError("size (=None) must be given for training: the images of a batch have one size")
    require_positive_int(size=size)
    least, greatest = scale
    require_in_range("scale[0]", least, 1 / size)
    require_in_range("scale[1]", greatest, least)
    # As with torchvision, the greatest size is left out.
    sides = round(least * size), round(greatest * size) + 1
    resize = ResizeShorterSide(sides, max(LONGEST, 2 * sides[1]))
    fill = {
        tv_tensors.Image: [round(255 * mean) for mean in MEAN],
        tv_tensors.Mask: IGNORED,
    }
    crop = v2.RandomCrop(size, pad_if_needed=True, fill=fill)
    steps = _compose(resize, *_mirror(flip), crop)
    return SegmentationTransform(steps)


def _compose(*steps: nn.Module) -> nn.Module:
    return v2.Compose(steps or [v2.Identity()])  # which refuses to do nothing


def _resize(size: int | None, proportion: float) -> list[nn.Module]:
    if size is None:
        return []
    require_positive_int(size=size)
    return [ResizeShorterSide(size, max(LONGEST, int(proportion * size)))]


def _mirror(flip: bool) -> list[nn.Module]:
    return [v2.RandomHorizontalFlip()] if flip else []
