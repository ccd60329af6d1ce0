"""Images annotated in the format of PASCAL VOC (http://host.robots.ox.ac.uk/pascal/VOC).

torchvision's own data sets of VOC know its years and its folders' names alone, and do not say which file is broken; its
reader of annotations is used here.

Legend: n objects, H height, W width.
"""

import hashlib
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import VOCDetection
from torchvision.transforms.v2.functional import pil_to_tensor

from resnest_edu.data.images import load_image
from resnest_edu.transfer.annotations import Target, check_map, check_target

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The values 1 to 20 of PASCAL VOC's maps."""


def voc_folder(root: Path) -> Path | None:
    """``root``, or the one folder beneath it, that has VOC's layout; ``None`` if there is none.

    Raises:
        ValueError: there are several.
    """
    places = [root, *sorted(root.glob("VOCdevkit/VOC*")), *sorted(root.glob("VOC2*"))]
    found = [place for place in places if (place / "ImageSets").is_dir() and (place / "JPEGImages").is_dir()]
    if len(found) > 1:
        names = ", ".join(str(place.relative_to(root)) for place in found)
        raise ValueError(f"root (={root}) must be one folder of VOC's layout, not that of {names}")
    return found[0] if found else None


def _names(folder: Path, task: str, split: str) -> list[str]:
    """The names of a split's images, which have neither folder nor ending."""
    path = folder / "ImageSets" / task / f"{split}.txt"
    if not path.is_file():
        raise ValueError(f"VOC folder {folder} must contain ImageSets/{task}/{split}.txt")
    names = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not names:
        raise ValueError(f"{path} must name at least one image")
    return names


def _image(folder: Path, name: str) -> tuple[Image.Image, Path]:
    paths = [folder / "JPEGImages" / f"{name}{ending}" for ending in (".jpg", ".jpeg", ".png")]
    path = next((path for path in paths if path.is_file()), paths[0])
    return load_image(path), path


@dataclass(frozen=True)
class _Objects:
    """What an XML file says."""

    path: Path
    size: tuple[int, int]  # width and height; 0 where it does not say
    names: list[str]
    boxes: Tensor  # float32 (n, 4)
    difficult: Tensor  # bool (n,)


def _read_objects(path: Path) -> _Objects:
    try:
        annotation: Any = VOCDetection.parse_voc_xml(ElementTree.parse(path).getroot())["annotation"]
        objects = annotation["object"]
        size = annotation.get("size", {})
        # Pixels count from 1, and a box's last column and row belong to it.
        boxes = [
            [float(one["bndbox"][side]) - first for side, first in (("xmin", 1), ("ymin", 1), ("xmax", 0), ("ymax", 0))]
            for one in objects
        ]
        if not all(math.isfinite(side) for box in boxes for side in box):
            raise ValueError("bndbox must be four finite numbers")
        return _Objects(
            path,
            (int(size.get("width", 0)), int(size.get("height", 0))),
            [one["name"] for one in objects],
            torch.tensor(boxes).reshape(-1, 4),
            torch.tensor([one.get("difficult") == "1" for one in objects], dtype=torch.bool),
        )
    # Whatever is missing, or is text where a number or an element must be.
    except (OSError, ElementTree.ParseError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"cannot read annotation {path}: {type(error).__name__}: {error}") from error


class VocDetection(Dataset[tuple[Tensor, Target]]):
    """Detection items; see :func:`~resnest_edu.transfer.open_detection_folder`.

    The classes are the names in the training images' annotations, sorted, as PASCAL VOC's own 20 are.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        *,
        classes: tuple[str, ...] | None = None,
        transform: Callable[[Tensor, Target], tuple[Tensor, Target]] | None,
    ) -> None:
        self.folder, self.names, self.transform = folder, _names(folder, "Main", split), transform
        self.objects = [_read_objects(folder / "Annotations" / f"{name}.xml") for name in self.names]
        self.classes = classes or tuple(sorted({name for one in self.objects for name in one.names}))
        if not self.classes:
            raise ValueError(f"annotations of {folder} must contain at least one object for training")
        for one in self.objects:
            for name in one.names:
                if name not in self.classes:
                    raise ValueError(f"name in {one.path} (={name}) must be a class of the training images")

    def __len__(self) -> int:
        return len(self.names)

    def identity(self) -> str:
        """A hash of the images' names and what is in them."""
        found = [
            (name, objects.size, objects.names, objects.boxes.tolist(), objects.difficult.tolist())
            for name, objects in zip(self.names, self.objects, strict=True)
        ]
        return hashlib.sha256(repr((self.classes, found)).encode()).hexdigest()

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        image, path = _image(self.folder, self.names[index])
        (width, height), objects = image.size, self.objects[index]
        if all(objects.size) and objects.size != image.size:
            raise ValueError(f"size of {path} (={image.size}) must be that stated in {objects.path} (={objects.size})")
        boxes = objects.boxes.clamp(min=0).minimum(torch.tensor([width, height] * 2, dtype=torch.float32))
        labels = torch.tensor([1 + self.classes.index(name) for name in objects.names], dtype=torch.int64)
        kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
        target = {"boxes": boxes[kept], "labels": labels[kept], "crowd": objects.difficult[kept]}
        check_target(target, (height, width), len(self.classes), str(path))
        tensor = pil_to_tensor(image)
        return self.transform(tensor, target) if self.transform else (tensor, target)


class VocSegmentation(Dataset[tuple[Tensor, Tensor]]):
    """Segmentation items; see :func:`~resnest_edu.transfer.open_segmentation_folder`."""

    def __init__(
        self,
        folder: Path,
        split: str,
        *,
        classes: tuple[str, ...],
        transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None,
    ) -> None:
        self.folder, self.names, self.transform = folder, _names(folder, "Segmentation", split), transform
        self.classes = classes

    def __len__(self) -> int:
        return len(self.names)

    def identity(self) -> str:
        """A hash of the images' names and their maps' files."""
        found = hashlib.sha256(repr((self.classes, self.names)).encode())
        for name in self.names:
            found.update(self._map(name).read_bytes())
        return found.hexdigest()

    def _map(self, name: str) -> Path:
        return self.folder / "SegmentationClass" / f"{name}.png"

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, _ = _image(self.folder, self.names[index])
        path = self._map(self.names[index])
        classes = _read_map(path)
        check_map(classes, (image.height, image.width), len(self.classes), str(path))
        tensor = pil_to_tensor(image)
        return self.transform(tensor, classes) if self.transform else (tensor, classes)


def _read_map(path: Path) -> Tensor:
    """The numbers of a map's pixels, int64 (H, W): a palette's indices, or grey values."""
    try:
        with Image.open(path) as image:
            mode, values = image.mode, np.array(image)
    except Exception as error:  # decoders raise what they like on damaged files
        raise ValueError(f"cannot read map {path}: {error}") from error
    if mode not in ("P", "L"):
        raise ValueError(f"mode of {path} (={mode}) must be P or L: one number a pixel")
    return torch.from_numpy(values).to(torch.int64)
