import shutil
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from resnest_edu.transfer import detection_transform, open_detection_folder, open_segmentation_folder
from tests.transfer.annotated_folders import write_coco, write_voc


def test_a_folder_of_neither_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    for opened in (open_detection_folder, open_segmentation_folder):
        with pytest.raises(ValueError, match=r"root \(=.*\) must contain annotations/instances_train\*\.json \(COCO"):
            opened(tmp_path)
        with pytest.raises(ValueError, match=r"root \(=.*missing\) must be a folder"):
            opened(tmp_path / "missing")


@pytest.mark.parametrize("write", [write_coco, write_voc])
def test_training_and_test_items_have_their_own_transforms(tmp_path: Path, write) -> None:
    write(tmp_path)
    boxes = detection_transform(False, size=48), detection_transform(False, size=32)
    splits = open_detection_folder(tmp_path, transforms=boxes)
    assert splits.train[0][0].shape == (3, 48, 48) and splits.test[0][0].shape == (3, 32, 32)
    assert splits.train[0][1]["boxes"].max() <= 48 and splits.test[0][1]["boxes"].max() <= 32
    maps = open_segmentation_folder(tmp_path, transforms=(lambda i, c: (i, c + 1), lambda i, c: (i, c + 2)))
    plain = open_segmentation_folder(tmp_path)
    assert torch.equal(maps.train[0][1], plain.train[0][1] + 1) and torch.equal(maps.test[0][1], plain.test[0][1] + 2)


@pytest.mark.parametrize(("names", "said"), [("test", "no val"), ("test val", "the val"), ("val unseen", "no test")])
@pytest.mark.parametrize("write", [write_coco, write_voc])
def test_what_is_held_out_beside_training(tmp_path: Path, write, names: str, said: str) -> None:
    """A test has the three images of the validation that is written, and a validation beside it those of training; of
    VOC's, a list whose annotations nobody may see is no test."""
    write(tmp_path)
    places = [(tmp_path / "val2017", tmp_path / "annotations/instances_val2017.json")]
    if write is write_voc:
        places = [(tmp_path / "ImageSets" / task / "val.txt",) for task in ("Main", "Segmentation")]
    for place in chain(*places):
        test, train = (place.with_name(place.name.replace("val", name)) for name in ("test", "train"))
        if names != "val unseen":
            place.rename(test)
        if names == "test val":
            (shutil.copytree if train.is_dir() else shutil.copy)(train, place)
        if names == "val unseen" and write is write_voc:
            test.write_text("kept")
    for opened in (open_detection_folder, open_segmentation_folder):
        splits: Any = opened(tmp_path)
        assert (len(splits.train), len(splits.test), len(splits.val or [])) == (4, 3, 4 * (names == "test val"))
        assert splits.chooses.startswith(said)


def test_only_a_coco_folder_needs_the_coco_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coco, voc = write_coco(tmp_path / "coco"), write_voc(tmp_path / "voc")
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    assert len(open_segmentation_folder(voc).train) == 4  # type: ignore[arg-type]
    with pytest.raises(ImportError, match="this needs pycocotools: pip install pycocotools"):
        open_detection_folder(coco)
