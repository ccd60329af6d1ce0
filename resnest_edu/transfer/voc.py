"""Images annotated in the format of PASCAL VOC (http://host.robots.ox.ac.uk/pascal/VOC).

torchvision's own data sets of VOC know its years and its folders' names alone, and do not say which file is broken.

Legend: n objects, H height, W width.
"""

import hashlib
import math
import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import pil_to_tensor

from resnest_edu.data.image_files import exif_orientation
from resnest_edu.transfer.annotations import Target, check_map, check_target, require_classes
from resnest_edu.transfer.orientation import load_annotated

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The values 1 to 20 of PASCAL VOC's maps."""

_USUAL = (".jpg", ".jpeg", ".png")
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}


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


def files_by_name(folder: Path, endings: Container[str]) -> dict[str, Path]:
    """The files in a folder by their names without the ending, which may be in any case; where there are several of a
    name, the one with the usual ending. Accents are composed (NFC): systems differ in how they store them."""

    def place(path: Path) -> tuple[int, str]:
        ending = path.suffix.lower()
        return (_USUAL.index(ending) if ending in _USUAL else len(_USUAL)), path.name

    paths = folder.iterdir() if folder.is_dir() else ()
    wanted = sorted((path for path in paths if path.suffix.lower() in endings), key=place, reverse=True)
    return {unicodedata.normalize("NFC", path.stem): path for path in wanted}


class _Listed:
    """A split's names, and where their files are."""

    def __init__(self, folder: Path, task: str, split: str, *, annotations: tuple[str, str]) -> None:
        place, ending = annotations
        path = folder / "ImageSets" / task / f"{split}.txt"
        if not path.is_file():
            raise ValueError(f"VOC folder {folder} must contain ImageSets/{task}/{split}.txt")
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except ValueError as error:
            raise ValueError(f"{path} must be text in UTF-8: {error}") from error
        images = files_by_name(folder / "JPEGImages", Image.registered_extensions())
        self.names = [_name(line.strip(), images) for line in lines if line.strip()]
        if not self.names:
            raise ValueError(f"{path} must name at least one image")
        found = files_by_name(folder / place, (ending,))
        self.images = [images.get(name, folder / "JPEGImages" / f"{name}.jpg") for name in self.names]
        self.annotations = [found.get(name, folder / place / f"{name}{ending}") for name in self.names]


def held_out_lists(folder: Path, task: str, annotations: tuple[str, str]) -> list[str]:
    """Which lists there are besides training: test, unless nobody may see its annotations, and val."""
    lists = folder / "ImageSets" / task
    has_test = (lists / "test.txt").is_file() and any(
        path.is_file() for path in _Listed(folder, task, "test", annotations=annotations).annotations
    )
    return [*["test"] * has_test, *["val"] * ((lists / "val.txt").is_file() or not has_test)]


def _name(line: str, images: Container[str]) -> str:
    """A line's image, which may be followed by a flag as in VOC's lists of one class: 1, 0 or -1."""
    line = unicodedata.normalize("NFC", line)
    flagged = None if line in images else re.fullmatch(r"(.*\S)\s+(1|0|-1)", line)
    return flagged[1] if flagged else line


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
        root = ElementTree.parse(path).getroot()
        if root.tag != "annotation" or not len(root):
            raise ValueError("it must be an <annotation> with a <size> or an <object>")
        names, boxes, difficult = [], [], []
        for one in root.iterfind("object"):
            name = unicodedata.normalize("NFC", one.findtext("name", "").strip())
            if not name or len(one.findall("bndbox")) != 1:
                raise ValueError("an object must have a name and one bndbox")
            texts = [one.findtext(f"bndbox/{side}", "") for side in _SIDES]
            x1, y1, x2, y2 = map(_number, texts)
            # Pixels count from 1, and a box's last column and row belong to it.
            box = [x1 - 1, y1 - 1, x2, y2]
            if not (all(map(math.isfinite, box)) and box[0] <= box[2] and box[1] <= box[3]):
                raise ValueError(f"bndbox (={texts}) must be four finite numbers, the greater ones last")
            flag = one.findtext("difficult", "").strip().lower()
            if flag not in _FLAGS:
                raise ValueError(f"difficult (={flag}) must be 0 or 1")
            names.append(name)
            boxes.append(box)
            difficult.append(_FLAGS[flag])
        width, height = (int(root.findtext(f"size/{side}", "").strip() or 0) for side in ("width", "height"))
    # Whatever is missing, or is text where a number must be.
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"cannot read annotation {path}: {error}") from error
    tensor = torch.tensor(boxes).reshape(-1, 4)
    return _Objects(path, (width, height), names, tensor, torch.tensor(difficult, dtype=torch.bool))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


class VocDetection(Dataset[tuple[Tensor, Target]]):
    """Detection items; see :func:`~resnest_edu.transfer.open_detection_folder`.

    The classes are the names in the training images' annotations, sorted, as PASCAL VOC's own 20 are.
    """

    where = "Annotations", ".xml"

    def __init__(
        self,
        folder: Path,
        split: str,
        *,
        classes: tuple[str, ...] | None = None,
        transform: Callable[[Tensor, Target], tuple[Tensor, Target]] | None,
    ) -> None:
        listed = _Listed(folder, "Main", split, annotations=self.where)
        self.names, self.images, self.transform = listed.names, listed.images, transform
        self.objects = [_read_objects(path) for path in listed.annotations]
        if all(one.difficult.all() for one in self.objects):
            raise ValueError(f"{split} annotations of {folder} must contain at least one object that is not difficult")
        self.classes = classes or tuple(sorted({name for one in self.objects for name in one.names}))
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
        path, objects = self.images[index], self.objects[index]
        image = load_annotated(path, objects.size if all(objects.size) else None, objects.path)
        width, height = image.size
        boxes = objects.boxes.clamp(min=0).minimum(torch.tensor([width, height] * 2, dtype=torch.float32))
        labels = torch.tensor([1 + self.classes.index(name) for name in objects.names], dtype=torch.int64)
        kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
        target = {"boxes": boxes[kept], "labels": labels[kept], "crowd": objects.difficult[kept]}
        check_target(target, (height, width), len(self.classes), str(path))
        tensor = pil_to_tensor(image)
        return self.transform(tensor, target) if self.transform else (tensor, target)


class VocSegmentation(Dataset[tuple[Tensor, Tensor]]):
    """Segmentation items; see :func:`~resnest_edu.transfer.open_segmentation_folder`."""

    where = "SegmentationClass", ".png"

    def __init__(
        self,
        folder: Path,
        split: str,
        *,
        classes: tuple[str, ...],
        transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None,
    ) -> None:
        listed = _Listed(folder, "Segmentation", split, annotations=self.where)
        self.names, self.images, self.maps = listed.names, listed.images, listed.annotations
        self.classes, self.transform = classes, transform
        require_classes(map(_read_map, self.maps), f"{split} maps of {folder}")

    def __len__(self) -> int:
        return len(self.names)

    def identity(self) -> str:
        """A hash of the images' names and their maps' files."""
        found = hashlib.sha256(repr((self.classes, self.names)).encode())
        for path in self.maps:
            found.update(path.read_bytes())
        return found.hexdigest()

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        path = self.maps[index]
        classes = _read_map(path)
        image = load_annotated(self.images[index], (classes.shape[1], classes.shape[0]), path)
        check_map(classes, (image.height, image.width), len(self.classes), str(path))
        tensor = pil_to_tensor(image)
        return self.transform(tensor, classes) if self.transform else (tensor, classes)


def _read_map(path: Path) -> Tensor:
    """The numbers of a map's pixels, int64 (H, W): a palette's indices, or grey values."""
    try:
        with Image.open(path) as image:
            orientation, mode, values = exif_orientation(image), image.mode, np.array(image)
    except Exception as error:  # decoders raise what they like on damaged files
        raise ValueError(f"cannot read map {path}: {error}") from error
    if mode not in ("P", "L"):
        raise ValueError(f"mode of {path} (={mode}) must be P or L: one number a pixel")
    if orientation != 1:
        raise ValueError(f"EXIF orientation of {path} (={orientation}) must be 1: a map has no other")
    return torch.from_numpy(values).to(torch.int64)
