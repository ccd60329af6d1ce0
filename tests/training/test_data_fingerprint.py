import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset

from resnest_edu.data import open_image_folder
from resnest_edu.training import TensorImages
from resnest_edu.training.data_fingerprint import digest
from resnest_edu.transfer import (
    SCENES,
    DetectionScenes,
    SegmentationScenes,
    detection_transform,
    open_detection_folder,
    open_segmentation_folder,
)
from tests.transfer.annotated_folders import edit_coco, write_coco, write_voc


def test_every_byte_label_and_place_counts():
    images, labels = torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2), torch.tensor([0, 1])
    found = {digest(TensorImages(images, labels))}
    assert digest(TensorImages(images.clone(), labels.clone())) in found
    other = images.clone()
    other[1, 2, 1, 1] += 1
    found |= {digest(TensorImages(other, labels)), digest(TensorImages(images, labels.flip(0)))}
    found |= {digest(TensorImages(images.flip(0), labels)), digest(TensorImages(images[:1], labels[:1]))}
    assert len(found) == 5


def test_files_count_by_name_and_label_and_by_what_is_held_out(colour_folder):
    first = open_image_folder(colour_folder, size=8)
    assert digest(first.train) == digest(open_image_folder(colour_folder, size=8).train)
    found = {digest(first.train), digest(first.test), digest(open_image_folder(colour_folder, size=8, seed=1).train)}
    (colour_folder / "red" / "0.png").rename(colour_folder / "red" / "00.png")
    found |= {digest(open_image_folder(colour_folder, size=8).train)}
    assert len(found) == 4
    renamed = open_image_folder(colour_folder, size=8)
    colour_folder.rename(colour_folder.with_name("elsewhere"))
    moved = open_image_folder(colour_folder.with_name("elsewhere"), size=8)
    assert digest(moved.train) == digest(renamed.train)


def test_of_other_data_the_number_counts():
    data = TensorDataset(torch.arange(4))
    assert digest(data) != digest(Subset(data, [0, 1]))
    assert digest(data) == digest(TensorDataset(torch.arange(1, 5)))


@pytest.mark.parametrize("kind", [DetectionScenes, SegmentationScenes])
def test_scenes_count_by_what_decides_them(kind: Any) -> None:
    first = digest(kind(3))
    assert digest(kind(3, transform=lambda *item: item)) == first
    others = [kind(2), kind(3, seed=1), kind(3, split="test"), kind(3, config=replace(SCENES, clutter=2))]
    if kind is DetectionScenes:
        others.append(kind(3, least_pixels=17))
    found = {first, *(digest(data) for data in others), digest(Subset(kind(3), [0, 2, 1]))}
    assert len(found) == 2 + len(others)


OPEN = {"detection": open_detection_folder, "segmentation": open_segmentation_folder}
WRITE = {"COCO": write_coco, "VOC": write_voc}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("written")
    for name, write in WRITE.items():
        write(root / name)
    return root


@pytest.mark.parametrize("name", WRITE)
@pytest.mark.parametrize("task", OPEN)
def test_an_annotated_folder_is_the_same_wherever_it_lies(task: str, name: str, written: Path, tmp_path: Path) -> None:
    splits = OPEN[task](written / name)
    moved = OPEN[task](shutil.copytree(written / name, tmp_path / "elsewhere"))
    assert [digest(moved.train), digest(moved.test)] == [digest(splits.train), digest(splits.test)]
    assert digest(splits.train) != digest(Subset(splits.train, [0, 1, 2])) != digest(splits.test)
    if task == "detection":
        small = open_detection_folder(written / name, transforms=(detection_transform(True, size=32),) * 2)
        assert digest(small.train) == digest(splits.train)


def edit_voc(*changes: tuple[int, str, str]) -> Callable[[Path], None]:
    """Put one text for another, once, in the annotations of some images."""

    def edit(root: Path) -> None:
        for number, old, new in changes:
            path = root / "Annotations" / f"train_{number:04d}.xml"
            before = path.read_text()
            assert before != re.sub(old, new, before, count=1)
            path.write_text(re.sub(old, new, before, count=1))

    return edit


def change_coco(root: Path) -> None:
    edit_coco(root, lambda content: content["annotations"][0]["bbox"].__setitem__(0, 1))


def rename_coco(root: Path) -> None:
    (root / "train2017" / "0000.png").rename(root / "train2017" / "other.png")
    edit_coco(root, lambda content: content["images"][0].update(file_name="other.png"))


def change_voc_map(root: Path) -> None:
    Image.fromarray(np.zeros((96, 96), np.uint8)).save(root / "SegmentationClass" / "train_0000.png")


def reorder_voc(root: Path) -> None:
    for task in ("Main", "Segmentation"):
        path = root / "ImageSets" / task / "train.txt"
        path.write_text("\n".join(path.read_text().splitlines()[::-1]))


@pytest.mark.parametrize(
    ("name", "task", "change"),
    [
        ("COCO", "detection", change_coco),
        ("COCO", "detection", rename_coco),
        ("COCO", "segmentation", change_coco),
        ("VOC", "detection", edit_voc((0, r"<xmin>\d+<", "<xmin>0<"))),
        ("VOC", "detection", edit_voc((0, "<difficult>0", "<difficult>1"))),
        ("VOC", "detection", edit_voc((0, "<name>star<", "<name>square<"), (1, "<name>square<", "<name>star<"))),
        ("VOC", "detection", reorder_voc),
        ("VOC", "segmentation", change_voc_map),
        ("VOC", "segmentation", reorder_voc),
    ],
)
def test_other_names_or_annotations_are_other_data(
    name: str, task: str, change: Callable[[Path], None], written: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(written / name, tmp_path / name)
    before = OPEN[task](root)
    known = digest(before.train), digest(before.test)
    change(root)
    after = OPEN[task](root)
    assert len(after.train) == len(before.train)  # type: ignore[arg-type]
    assert digest(after.train) != known[0]
    assert digest(after.test) == known[1]
