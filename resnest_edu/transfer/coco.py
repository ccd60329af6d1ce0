"""Images annotated in COCO's format (https://cocodataset.org/#format-data) as items to learn from.

Legend: n objects, H height, W width.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from resnest_edu.transfer.annotations import IGNORED, Target, check_map, check_target
from resnest_edu.transfer.coco_index import CocoIndex


def coco_splits(root: Path) -> list[tuple[Path, Path]] | None:
    """The (file of annotations, folder of images) for training, for what is held out and, where there are both a test
    and validation, for the latter; ``None`` if ``root`` has none.

    Raises:
        ValueError: a file or folder is missing, or there are several of a kind.
    """
    if not list((root / "annotations").glob("instances_train*.json")):
        return None
    splits = []
    has_test = any((root / "annotations").glob("instances_test*.json"))
    has_val = any((root / "annotations").glob("instances_val*.json"))
    for name in ("train", *["test"] * has_test, *["val"] * (has_val or not has_test)):
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
        self.index, self.masks, self.transform = CocoIndex(file, folder, boxes=True, masks=masks), masks, transform
        self.classes = self.index.classes

    def __len__(self) -> int:
        return len(self.index.images)

    def identity(self) -> str:
        """Which images and annotations these are."""
        return self.index.identity()

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        image, annotations, where = self.index.read(index)
        height, width = image.shape[1:]
        corners = [(x, y, x + w, y + h) for x, y, w, h in (map(float, one["bbox"]) for one in annotations)]
        sides = torch.tensor([width, height] * 2, dtype=torch.float64)
        boxes = torch.tensor(corners, dtype=torch.float64).reshape(-1, 4).clamp(min=0).minimum(sides).float()
        target = {
            "boxes": boxes,
            "labels": torch.tensor([self.index.labels[one["category_id"]] for one in annotations], dtype=torch.int64),
            "crowd": torch.tensor([bool(one.get("iscrowd")) for one in annotations], dtype=torch.bool),
        }
        kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
        if self.masks:
            empty = torch.zeros(0, height, width, dtype=torch.bool)
            masks = torch.cat([empty, *(self.index.mask(one, (height, width))[None] for one in annotations)])
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
        self.index, self.transform = CocoIndex(file, folder, boxes=False, masks=True), transform
        self.classes = ("background", *self.index.classes)

    def __len__(self) -> int:
        return len(self.index.images)

    def identity(self) -> str:
        """Which images and annotations these are."""
        return self.index.identity()

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, annotations, where = self.index.read(index)
        height, width = image.shape[1:]
        classes = torch.zeros(height, width, dtype=torch.int64)
        for one in sorted(annotations, key=lambda one: bool(one.get("iscrowd"))):  # crowds last
            mask, label = self.index.mask(one, (height, width)), self.index.labels[one["category_id"]]
            if one.get("iscrowd"):
                classes[mask & (classes == 0)] = IGNORED
            else:
                claimed = mask & (classes != 0) & (classes != label)
                classes[mask] = label
                classes[claimed] = IGNORED
        check_map(classes, (height, width), len(self.classes), where)
        return self.transform(image, classes) if self.transform else (image, classes)
