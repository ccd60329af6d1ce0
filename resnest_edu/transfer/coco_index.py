"""A file of annotations in COCO's format (https://cocodataset.org/#format-data), read and checked whole.

COCO's own library keeps the last of two things of one id, leaves memory unset where run lengths end early, and dies of
polygons far outside the image. Here it draws the polygons, and no more.

Legend: H height, W width.
"""

import hashlib
import json
import math
import reprlib
import unicodedata
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from resnest_edu.arguments import first_line, require_extra
from resnest_edu.transfer.annotations import IGNORED
from resnest_edu.transfer.orientation import load_annotated

Record = dict[str, Any]


class CocoIndex:
    """One file of annotations, checked, and the images that it is about.

    Args:
        file, folder: the JSON, and where its images are.
        boxes: whether its boxes are to be read.
        masks: whether its masks are.

    Raises:
        ValueError: anything in the file is not as the format says, or it has no object but crowds.
        ImportError: pycocotools is not installed.
    """

    def __init__(self, file: Path, folder: Path, *, boxes: bool, masks: bool) -> None:
        require_extra("pycocotools")
        self.file, self.folder = file, folder
        try:
            content = json.loads(file.read_bytes())  # UTF-8, with or without a mark, or as a mark says
        except (ValueError, RecursionError) as error:
            raise ValueError(f"cannot read annotations {file}: {first_line(error)}") from error
        if not isinstance(content, dict):
            raise ValueError(f"annotations {file} (a {type(content).__name__}) must be a JSON object")
        images, categories, annotations = (
            self._by_id(content.get(kind), kind) for kind in ("images", "categories", "annotations")
        )
        if not images or not 1 <= len(categories) <= IGNORED - 1:
            found = f"{len(images)} images, {len(categories)} categories"
            raise ValueError(f"{file} (={found}) must have images, and from 1 to {IGNORED - 1} categories")
        self.images = [images[number] for number in _sorted(images)]
        files: dict[str, Record] = {}
        for image in self.images:
            self._check_image(image)
            earlier = files.setdefault(image["file_name"], image)
            if earlier is not image:  # each would show the objects of the other without saying so
                raise ValueError(f"{self._name('image', image)}: file_name must not be that of image {earlier['id']}")
        for category in categories.values():
            if not isinstance(category.get("name"), str | int):
                raise ValueError(f"{self._name('category', category)} must have a name")
        # COCO's numbers of categories have gaps; labels have none.
        self.labels = {number: label for label, number in enumerate(_sorted(categories), 1)}
        self.classes = tuple(unicodedata.normalize("NFC", str(categories[number]["name"])) for number in self.labels)
        self.objects: dict[Any, list[Record]] = {number: [] for number in images}
        for annotation in annotations.values():
            self._check_annotation(annotation, images, boxes=boxes, masks=masks)
            self.objects[annotation["image_id"]].append(annotation)
        if all(annotation.get("iscrowd") for annotation in annotations.values()):
            raise ValueError(f"annotations of {file} must contain at least one object that is not a crowd")

    def identity(self) -> str:
        """A hash of the file, which names the images and says what is in them."""
        with self.file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read(self, index: int) -> tuple[Tensor, list[Record], str]:
        """The image, its annotations, its file's name."""
        record = self.images[index]
        path = self.folder / record["file_name"]
        image = load_annotated(path, (record["width"], record["height"]), self.file)
        return pil_to_tensor(image), self.objects[record["id"]], str(path)

    def mask(self, annotation: Record, size: tuple[int, int]) -> Tensor:
        """Its pixels, bool (H, W)."""
        runs, polygons = self._outline(annotation, *size)
        if runs is not None:
            columns = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[::-1])
            return torch.from_numpy(columns.T)
        from pycocotools import mask as library

        return torch.from_numpy(library.decode(library.merge(library.frPyObjects(polygons, *size)))).bool()

    def _by_id(self, records: object, kind: str) -> dict[Any, Record]:
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ValueError(f"{kind} of {self.file} must be a list of JSON objects")
        found: dict[Any, Record] = {}
        for place, record in enumerate(records):
            number = record.get("id")
            if type(number) not in (int, str) and not _are_finite([number]):
                raise ValueError(f"{kind}[{place}] of {self.file}: id (={_short(number)}) must be a number or a text")
            if found.setdefault(number, record) is not record:
                raise ValueError(f"{kind} of {self.file}: id (={number!r}) must be that of one alone")
        return found

    def _name(self, kind: str, record: Record) -> str:
        return f"{kind} {record['id']} of {self.file}"

    def _check_image(self, image: Record) -> None:
        if not isinstance(image.get("file_name"), str):
            raise ValueError(f"{self._name('image', image)} must have a file_name")
        for side in ("height", "width"):
            pixels: Any = image.get(side)
            if not _are_finite([pixels]) or pixels < 1 or pixels % 1:
                raise ValueError(
                    f"{self._name('image', image)}: {side} (={_short(pixels)}) must be an integer of at least 1"
                )
            image[side] = int(pixels)

    def _check_annotation(self, annotation: Record, images: dict[Any, Record], *, boxes: bool, masks: bool) -> None:
        name = self._name("annotation", annotation)
        known: dict[str, Container[Any]] = {"category_id": self.labels, "image_id": images}
        for field, choices in known.items():
            number = annotation.get(field)
            if type(number) not in (int, float, str) or number not in choices:
                raise ValueError(f"{name}: {field} (={_short(number)}) must be in the file")
        if annotation.get("iscrowd") not in (None, 0, 1):
            raise ValueError(f"{name}: iscrowd (={_short(annotation['iscrowd'])}) must be 0 or 1")
        box: Any = annotation.get("bbox")
        if boxes and not (_are_finite(box) and len(box) == 4 and min(box[2:]) >= 0):
            raise ValueError(
                f"{name}: bbox (={_short(box)}) must be four finite numbers, width and height of at least 0"
            )
        if masks:
            if boxes and not annotation.get("segmentation"):
                raise ValueError(f"{name} must have a segmentation; --detector faster or cascade needs none")
            image = images[annotation["image_id"]]
            self._outline(annotation, image["height"], image["width"])

    def _outline(self, annotation: Record, height: int, width: int) -> tuple[list[int] | None, list[list[float]]]:
        """The run lengths of an object's mask, column by column from the top, zeros first; or else its polygons."""
        name, found = self._name("annotation", annotation), annotation.get("segmentation")
        if not found:
            raise ValueError(f"{name} must have a segmentation")
        if isinstance(found, dict):
            if found.get("size") != [height, width]:
                raise ValueError(
                    f"{name}: size of segmentation (={_short(found.get('size'))}) must be {[height, width]}"
                )
            counts = found.get("counts")
            runs = _decoded(counts) if isinstance(counts, str) else counts
            if not isinstance(runs, list) or not {int} >= set(map(type, runs)) or min(runs, default=0) < 0:
                raise ValueError(f"{name}: counts of segmentation (={_short(counts)}) must be run lengths")
            if sum(runs) != height * width:
                raise ValueError(
                    f"{name}: run lengths of segmentation (={sum(runs)} pixels) must fill {width} x {height}"
                )
            return runs, []
        for part in found if isinstance(found, list) else [found]:
            if not _are_finite(part) or len(part) < 6 or len(part) % 2:
                form = "lists of at least six finite numbers, x and y in turn"
                raise ValueError(f"{name}: polygons of segmentation (={_short(part)}) must be {form}")
            for values, side in (part[::2], width), (part[1::2], height):
                if min(values) < -side or max(values) > 2 * side:
                    reach = f"lie in the image of {width} x {height}, or no farther beside it than it is large"
                    raise ValueError(f"{name}: polygons of segmentation (={_short(part)}) must {reach}")
        return None, found


def _sorted(ids: dict[Any, Record]) -> list[Any]:
    """Numbers, then texts."""
    return sorted(ids, key=lambda number: (isinstance(number, str), number))


def _short(value: object) -> str:
    return reprlib.repr(value)


def _are_finite(values: Any) -> bool:
    """Whether these are a list of numbers; true and false are none, nor is what no float can hold."""
    try:
        return isinstance(values, list) and {int, float} >= set(map(type, values)) and all(map(math.isfinite, values))
    except OverflowError:
        return False


def _decoded(text: str) -> list[int] | None:
    """The run lengths that COCO's compressed text stands for, None if it is none.

    A character from "0" on has six bits. Five are the number's next, the lowest first, the sixth says that more follow;
    the last of a number's bits is its sign. From the fourth number on it is added to the last but one.
    """
    runs: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        number |= (bits & 31) << shift
        shift += 5
        if bits < 32:
            if bits & 16:
                number -= 1 << shift
            runs.append(number + runs[-2] if len(runs) > 2 else number)
            number = shift = 0
    return None if shift else runs
