"""Drawn scenes written to disk as COCO and as PASCAL VOC write theirs, without loss."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.transfer import DetectionScenes, SegmentationScenes
from resnest_edu.transfer.annotated_scenes import Split

SPLITS: tuple[tuple[str, Split, int], ...] = (("train", "train", 4), ("val", "test", 3))
CATEGORY_IDS = [3 + 7 * label for label in range(len(SHAPE_CLASSES))]  # with gaps, as COCO's


def save_image(path: Path, image: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)


def write_coco(root: Path, *, year: str = "2017", inside: str = "") -> Path:
    """``root`` as a COCO folder; masks run-length encoded, as crowds are."""
    for split, drawn, count in SPLITS:
        file: dict[str, Any] = {"images": [], "annotations": []}
        file["categories"] = [{"id": i, "name": n} for i, n in zip(CATEGORY_IDS, SHAPE_CLASSES, strict=True)]
        for number, (image, target) in enumerate(DetectionScenes(count, split=drawn)):  # type: ignore[arg-type]
            name = f"{number:04d}.png"
            save_image(root / inside / f"{split}{year}" / name, image)
            file["images"].append({"id": 10 + number, "file_name": name, "height": 96, "width": 96})
            objects = zip(*(target[field].tolist() for field in ("boxes", "labels")), target["masks"], strict=True)
            for (x1, y1, x2, y2), label, mask in objects:
                encoded = rle.encode(np.asfortranarray(mask.numpy()))
                outline = {"size": encoded["size"], "counts": encoded["counts"].decode()}
                one = {
                    "id": 1 + len(file["annotations"]),
                    "image_id": 10 + number,
                    "iscrowd": 0,
                    "area": int(mask.sum()),
                }
                one |= {"category_id": CATEGORY_IDS[label - 1], "bbox": [x1, y1, x2 - x1, y2 - y1]}
                file["annotations"].append(one | {"segmentation": outline})
        save_json(coco_file(root, split, year), file)
    return root


def coco_file(root: Path, split: str = "train", year: str = "2017") -> Path:
    return root / "annotations" / f"instances_{split}{year}.json"


def save_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def edit_coco(root: Path, edit: Any, split: str = "train") -> None:
    """Let ``edit`` change what the file of a split says."""
    content = json.loads(coco_file(root, split).read_text())
    edit(content)
    save_json(coco_file(root, split), content)


def write_voc(folder: Path) -> Path:
    """``folder`` in VOC's layout."""
    for split, drawn, count in SPLITS:
        names = []
        maps = SegmentationScenes(count, split=drawn)
        for number, (image, target) in enumerate(DetectionScenes(count, split=drawn)):  # type: ignore[arg-type]
            names.append(f"{split}_{number:04d}")
            save_image(folder / "JPEGImages" / f"{names[-1]}.png", image)
            objects = [
                voc_object(SHAPE_CLASSES[label - 1], box)
                for label, box in zip(target["labels"].tolist(), target["boxes"].tolist(), strict=True)
            ]
            write_voc_objects(folder, names[-1], objects)
            palette = Image.fromarray(maps[number][1].numpy().astype(np.uint8)).convert("P")
            palette.putpalette(list(range(256)) * 3)
            path = folder / "SegmentationClass" / f"{names[-1]}.png"
            path.parent.mkdir(exist_ok=True)
            palette.save(path)
        for task in ("Main", "Segmentation"):
            path = folder / "ImageSets" / task / f"{split}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(names) + "\n")
    return folder


def voc_object(name: str, box: list[float], difficult: int = 0) -> str:
    x1, y1, x2, y2 = box  # from 0, the end outside; VOC counts from 1, the end inside
    corners = f"<xmin>{x1 + 1:g}</xmin><ymin>{y1 + 1:g}</ymin><xmax>{x2:g}</xmax><ymax>{y2:g}</ymax>"
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{corners}</bndbox></object>"


def write_voc_objects(folder: Path, name: str, objects: list[str], size: tuple[int, int] = (96, 96)) -> None:
    path = folder / "Annotations" / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    path.write_text(f"<annotation>{stated}{''.join(objects)}</annotation>")


def assert_named(
    written: Path, where: Path, rows: list[tuple[Any, str]], files: dict[str, Any], read: Callable[[Path], object]
) -> None:
    """Each row spoils a copy of a folder, and ``read`` must say this of it, in one line; ``files`` lie in it."""
    for number, (spoil, fault) in enumerate(rows):
        root = shutil.copytree(written, where / f"spoiled {number}")
        spoil(root)
        expected = re.escape(fault.format(**{name: root / path for name, path in files.items()}))
        with pytest.raises(ValueError, match=f"^{expected}") as refusal:
            read(root)
        assert "\n" not in str(refusal.value)
