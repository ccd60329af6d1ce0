"""Images annotated in COCO's format (https://cocodataset.org/#format-data), read by COCO's own library.

Legend: n objects, H height, W width.
"""

import contextlib
import hashlib
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import pil_to_tensor

from resnest_edu.arguments import first_line, require_extra
from resnest_edu.data.images import load_image
from resnest_edu.transfer.annotations import IGNORED, Target, check_map, check_target

Annotation = dict[str, Any]


def coco_splits(root: Path) -> list[tuple[Path, Path]] | None:
    """The (file of annotations, folder of images) for training and for the test; ``None`` if ``root`` has none.

    Raises:
        ValueError: a file or folder is missing, or there are several of a kind.
    """
    if not list((root / "annotations").glob("instances_train*.json")):
        return None
    splits = []
    for name in ("train", "val"):
        files = sorted((root / "annotations").glob(f"instances_{name}*.json"))
        if len(files) != 1:
            found = ", ".join(file.name for file in files) or "none"
            raise ValueError(f"annotations in {root} (={found}) must be one file instances_{name}*.json")
        images = files[0].stem.removeprefix("instances_")
        folders = [folder for folder in (root / images, root / "images" / images) if folder.is_dir()]
        if not folders:
            raise ValueError(
                f"root (={root}) must contain {images} or images/{images} beside annotations/{files[0].name}"
            )
        splits.append((files[0], folders[0]))
    return splits


class CocoIndex:
    """One file of annotations, checked, and the images that it is about."""

    def __init__(self, file: Path, folder: Path) -> None:
        require_extra("pycocotools")
        from pycocotools.coco import COCO

        self.file, self.folder = file, folder
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it reports what it does
                self.coco = COCO(str(file))
            self.ids = sorted(self.coco.imgs)
            categories = sorted(self.coco.cats)
            self.classes = tuple(str(self.coco.cats[number]["name"]) for number in categories)
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
            raise ValueError(f"cannot read annotations {file}: {type(error).__name__}: {first_line(error)}") from error
        # COCO's numbers of categories have gaps; labels have none.
        self.labels = {number: label for label, number in enumerate(categories, 1)}
        if not self.ids or not 1 <= len(categories) <= IGNORED - 1:
            found = f"{len(self.ids)} images, {len(categories)} categories"
            raise ValueError(f"{file} (={found}) must have images, and from 1 to {IGNORED - 1} categories")
        for number, record in self.coco.imgs.items():
            for field in ("file_name", "height", "width"):
                if field not in record:
                    raise ValueError(f"image {number} of {file} must have a {field}")
        for annotation in self.coco.anns.values():
            for field, known in (("category_id", self.labels), ("image_id", self.coco.imgs)):
                if annotation.get(field) not in known:
                    raise ValueError(f"{self.name(annotation)}: {field} (={annotation.get(field)}) must be in the file")

    def identity(self) -> str:
        """A hash of the file, which names the images and says what is in them."""
        with self.file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def name(self, annotation: Annotation) -> str:
        return f"annotation {annotation.get('id')} of {self.file}"

    def read(self, index: int) -> tuple[Tensor, list[Annotation], str]:
        """The image, its annotations, its file's name."""
        record = self.coco.imgs[self.ids[index]]
        path = self.folder / record["file_name"]
        image = load_image(path)
        stated = record["width"], record["height"]
        if image.size != stated:
            raise ValueError(f"size of {path} (={image.size}) must be that stated in {self.file} (={stated})")
        return pil_to_tensor(image), self.coco.imgToAnns[self.ids[index]], str(path)

    def box(self, annotation: Annotation, width: int, height: int) -> list[float]:
        """x1, y1, x2, y2 in pixels, clipped to the image."""
        box = annotation.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_finite, box)):
            raise ValueError(f"{self.name(annotation)}: bbox (={box}) must be four finite numbers")
        x, y, w, h = box
        return [min(max(x, 0), width), min(max(y, 0), height), min(max(x + w, 0), width), min(max(y + h, 0), height)]

    def mask(self, annotation: Annotation, size: tuple[int, int]) -> Tensor:
        """Its pixels, bool (H, W)."""
        if not annotation.get("segmentation"):
            raise ValueError(f"{self.name(annotation)} must have a segmentation")
        try:
            mask = torch.from_numpy(self.coco.annToMask(annotation)).bool()
        except Exception as error:  # the library checks little, and raises what happens
            raise ValueError(f"cannot read segmentation of {self.name(annotation)}: {error}") from error
        if tuple(mask.shape) != size:
            raise ValueError(f"segmentation of {self.name(annotation)} (={tuple(mask.shape)}) must be of size {size}")
        return mask


def _is_finite(number: object) -> bool:
    return isinstance(number, int | float) and math.isfinite(number)


class CocoDetection(Dataset[tuple[Tensor, Target]]):
    """Detection items; see :func:`~resnest_edu.transfer.open_detection_folder`."""

    def __init__(
        self,
        file: Path,
        folder: Path,
        *,
        masks: bool,
        transform: Callable[[Tensor, Target], tuple[Tensor, Target]] | None,
    ) -> None:
        self.index, self.masks, self.transform = CocoIndex(file, folder), masks, transform
        self.classes = self.index.classes

    def __len__(self) -> int:
        return len(self.index.ids)

    def identity(self) -> str:
        """Which images and annotations these are."""
        return self.index.identity()

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        image, annotations, where = self.index.read(index)
        height, width = image.shape[1:]
        corners = [self.index.box(one, width, height) for one in annotations]
        boxes = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
        target = {
            "boxes": boxes,
            "labels": torch.tensor([self.index.labels[one["category_id"]] for one in annotations], dtype=torch.int64),
            "crowd": torch.tensor([bool(one.get("iscrowd", 0)) for one in annotations], dtype=torch.bool),
        }
        kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
        if self.masks:
            empty = torch.zeros(0, height, width, dtype=torch.bool)
            masks = (
                torch.stack([self.index.mask(one, (height, width)) for one in annotations]) if annotations else empty
            )
            target["masks"] = masks.to(torch.uint8)
            kept &= masks.flatten(1).any(1)
        target = {name: field[kept] for name, field in target.items()}
        check_target(target, (height, width), len(self.classes), where)
        return self.transform(image, target) if self.transform else (image, target)


class CocoSegmentation(Dataset[tuple[Tensor, Tensor]]):
    """Segmentation items; see :func:`~resnest_edu.transfer.open_segmentation_folder`."""

    def __init__(
        self, file: Path, folder: Path, *, transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None
    ) -> None:
        self.index, self.transform = CocoIndex(file, folder), transform
        self.classes = ("background", *self.index.classes)

    def __len__(self) -> int:
        return len(self.index.ids)

    def identity(self) -> str:
        """Which images and annotations these are."""
        return self.index.identity()

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, annotations, where = self.index.read(index)
        height, width = image.shape[1:]
        classes = torch.zeros(height, width, dtype=torch.int64)
        for one in sorted(annotations, key=lambda one: bool(one.get("iscrowd", 0))):  # crowds last
            mask, label = self.index.mask(one, (height, width)), self.index.labels[one["category_id"]]
            if one.get("iscrowd", 0):
                classes[mask & (classes == 0)] = IGNORED
            else:
                claimed = mask & (classes != 0) & (classes != label)
                classes[mask] = label
                classes[claimed] = IGNORED
        check_map(classes, (height, width), len(self.classes), where)
        return self.transform(image, classes) if self.transform else (image, classes)
