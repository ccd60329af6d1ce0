import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.transfer import DetectionScenes, SegmentationScenes, open_detection_folder, open_segmentation_folder
from tests.transfer.annotated_folders import CATEGORY_IDS, coco_file, edit_coco, write_coco


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("coco"))


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """A folder to spoil."""
    return shutil.copytree(written, tmp_path / "coco")


@pytest.mark.parametrize("masks", [False, True])
def test_scenes_come_back_from_a_coco_folder_as_they_were(written: Path, masks: bool) -> None:
    splits = open_detection_folder(written, masks=masks)
    assert splits.classes == SHAPE_CLASSES
    for found, drawn in (splits.train, DetectionScenes(4)), (splits.test, DetectionScenes(3, split="test")):
        assert len(found) == len(drawn)  # type: ignore[arg-type]
        for index in range(len(drawn)):
            image, target = found[index]
            expected_image, expected = drawn[index]
            assert torch.equal(image, expected_image)
            assert set(target) == set(expected) - (set() if masks else {"masks"})
            for name, field in target.items():
                assert field.dtype == expected[name].dtype and torch.equal(field, expected[name]), name


def test_maps_come_back_from_a_coco_folder_as_they_were(written: Path) -> None:
    splits = open_segmentation_folder(written)
    assert splits.classes == ("background", *SHAPE_CLASSES)
    for found, drawn in (splits.train, SegmentationScenes(4)), (splits.test, SegmentationScenes(3, split="test")):
        for index in range(len(drawn)):
            assert torch.equal(found[index][0], drawn[index][0]) and torch.equal(found[index][1], drawn[index][1])
        assert len(found) == len(drawn)  # type: ignore[arg-type]


@pytest.mark.parametrize(("year", "inside"), [("2014", ""), ("", "images")])
def test_other_years_and_places_of_the_images_are_found(tmp_path: Path, year: str, inside: str) -> None:
    splits = open_detection_folder(write_coco(tmp_path, year=year, inside=inside))
    assert torch.equal(splits.train[0][0], DetectionScenes(1)[0][0])


def test_opening_is_silent(written: Path, capfd: pytest.CaptureFixture) -> None:
    open_detection_folder(written, masks=True).train[0]
    assert capfd.readouterr() == ("", "")


def with_objects(root: Path, *objects: dict[str, Any]) -> None:
    """Give the first training image these objects alone."""

    def edit(content: dict[str, Any]) -> None:
        content["annotations"] = [
            {"id": 900 + number, "image_id": 10, "category_id": CATEGORY_IDS[0], "iscrowd": 0} | one
            for number, one in enumerate(objects)
        ]

    edit_coco(root, edit)


def square(x1: int, y1: int, x2: int, y2: int) -> dict[str, Any]:
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]]}


def crowd(x1: int, y1: int, x2: int, y2: int) -> dict[str, Any]:
    """Run-length encoded by hand: columns from the left, each from the top; zeros first."""
    height = y2 - y1
    runs = [96 * x1 + y1] + [height, 96 - height] * (x2 - x1 - 1) + [height]
    return {
        "bbox": [x1, y1, x2 - x1, height],
        "segmentation": {"size": [96, 96], "counts": [*runs, 96 * 96 - sum(runs)]},
        "iscrowd": 1,
    }


def test_polygons_and_uncompressed_runs_are_read(root: Path) -> None:
    with_objects(root, square(10, 20, 30, 50), crowd(40, 5, 60, 11))
    target = open_detection_folder(root, masks=True).train[0][1]
    assert target["boxes"].tolist() == [[10, 20, 30, 50], [40, 5, 60, 11]]
    assert target["crowd"].tolist() == [False, True]
    expected = torch.zeros(2, 96, 96, dtype=torch.uint8)
    expected[0, 20:50, 10:30] = expected[1, 5:11, 40:60] = 1
    assert torch.equal(target["masks"], expected)


def test_boxes_are_clipped_and_those_without_area_left_out(root: Path) -> None:
    inside = square(1, 2, 9, 9)
    with_objects(
        root,
        inside | {"bbox": [-5, -6, 20.5, 30]},
        inside | {"bbox": [80, 90, 40, 40], "category_id": CATEGORY_IDS[2]},
        inside | {"bbox": [10, 10, 0, 5]},
        inside | {"bbox": [10, 10, 5, 0]},
        inside | {"bbox": [10, 10, -5, 4]},
        inside | {"bbox": [97, 10, 5, 5]},
        inside | {"bbox": [10, -20, 5, 5]},
    )
    target = open_detection_folder(root, masks=True).train[0][1]
    assert target["boxes"].tolist() == [[0, 0, 15.5, 24], [80, 90, 96, 96]]
    assert target["labels"].tolist() == [1, 3] and len(target["masks"]) == len(target["crowd"]) == 2


def test_an_object_with_an_empty_mask_is_left_out_where_masks_are_asked_for(root: Path) -> None:
    nothing = {"segmentation": {"size": [96, 96], "counts": [96 * 96]}}
    with_objects(root, square(1, 2, 9, 9), square(1, 2, 9, 9) | nothing)
    assert len(open_detection_folder(root, masks=True).train[0][1]["labels"]) == 1
    assert len(open_detection_folder(root).train[0][1]["labels"]) == 2


@pytest.mark.parametrize("objects", [[], [square(1, 2, 9, 9) | {"bbox": [10, 10, 0, 0]}]])
def test_an_image_without_an_object_is_an_empty_scene(root: Path, objects: list[dict[str, Any]]) -> None:
    with_objects(root, *objects)
    _, target = open_detection_folder(root, masks=True).train[0]
    assert {name: tuple(field.shape) for name, field in target.items()} == {
        "boxes": (0, 4),
        "labels": (0,),
        "crowd": (0,),
        "masks": (0, 96, 96),
    }
    with_objects(root)
    assert (open_segmentation_folder(root).train[0][1] == 0).all()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_where_classes_overlap_the_map_is_ignored(root: Path, order: tuple[int, ...]) -> None:
    objects = [
        square(0, 0, 20, 20),
        square(10, 0, 30, 20) | {"category_id": CATEGORY_IDS[1]},
        square(0, 10, 15, 30),  # of the first class, over both
        crowd(0, 0, 40, 40) | {"category_id": CATEGORY_IDS[2]},
    ]
    with_objects(root, *(objects[number] for number in order))
    expected = np.zeros((96, 96), dtype=np.int64)
    expected[:40, :40] = 255
    expected[:20, :10] = 1
    expected[20:30, :15] = 1
    expected[:20, 20:30] = 2
    assert np.array_equal(open_segmentation_folder(root).train[0][1], expected)


def edited(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda root: edit_coco(root, edit)


def first(field: str, value: object) -> Callable[[Path], None]:
    return edited(lambda content: content["annotations"][0].update({field: value}))


def test_every_fault_is_named(written: Path, tmp_path: Path) -> None:
    rows = [
        (first("category_id", 4), "annotation 1 of {file}: category_id (=4) must be in the file"),
        (first("image_id", 4), "annotation 1 of {file}: image_id (=4) must be in the file"),
        (first("bbox", [1, 2, 3]), "annotation 1 of {file}: bbox (=[1, 2, 3]) must be four finite numbers"),
        (first("bbox", [1, 2, 3, float("nan")]), "annotation 1 of {file}: bbox (=[1, 2, 3, nan])"),
        (first("bbox", None), "annotation 1 of {file}: bbox (=None)"),
        (first("segmentation", []), "annotation 1 of {file} must have a segmentation"),
        (first("segmentation", [[1, 2]]), "cannot read segmentation of annotation 1 of {file}"),
        (first("segmentation", {"size": [9, 9], "counts": [81]}), "segmentation of annotation 1 of {file} (=(9, 9))"),
        (edited(lambda content: content["images"][0].update(width=95)), "size of {image} (=(96, 96)) must be"),
        (edited(lambda content: content["images"][0].pop("height")), "image 10 of {file} must have a height"),
        (edited(lambda content: content.update(images=[], annotations=[])), "{file} (=0 images, 8 categories)"),
        (edited(lambda content: content.update(categories=[], annotations=[])), "{file} (=4 images, 0 categories)"),
        (edited(lambda content: content["categories"][0].pop("name")), "cannot read annotations {file}: KeyError"),
        (edited(lambda content: content["annotations"][0].pop("id")), "cannot read annotations {file}: KeyError"),
        (lambda root: coco_file(root).write_text("{"), "cannot read annotations {file}: JSONDecodeError"),
        (lambda root: coco_file(root).write_text("[]"), "cannot read annotations {file}: AssertionError"),
        (lambda root: (root / "train2017" / "0000.png").unlink(), "cannot read image {image}"),
        (lambda root: (root / "train2017" / "0000.png").write_bytes(b"\x89PNG"), "cannot read image {image}"),
        (lambda root: shutil.rmtree(root / "train2017"), "root (={root}) must contain train2017 or images/train2017"),
        (lambda root: coco_file(root, "val").unlink(), "annotations in {root} (=none) must be one file instances_val*"),
        (
            lambda root: shutil.copy(coco_file(root), coco_file(root, year="2014")),
            "annotations in {root} (=instances_train2014.json, instances_train2017.json) must be one file",
        ),
        (
            edited(lambda content: content["categories"][0].update(name="sphere")),
            "categories of the test in {root} (=('disk'",
        ),
    ]
    for number, (spoil, fault) in enumerate(rows):
        root = shutil.copytree(written, tmp_path / str(number))
        spoil(root)
        expected = fault.format(file=coco_file(root), image=root / "train2017" / "0000.png", root=root)
        with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
            open_detection_folder(root, masks=True).train[0]


def test_an_image_of_another_size_than_stated_is_named_for_maps_too(root: Path) -> None:
    path = root / "train2017" / "0000.png"
    Image.new("RGB", (96, 95)).save(path)
    with pytest.raises(ValueError, match=re.escape(f"size of {path} (=(96, 95)) must be that stated in")):
        open_segmentation_folder(root).train[0]


def test_names_of_classes_are_not_taken_for_a_coco_folder(written: Path) -> None:
    with pytest.raises(ValueError, match=r"classes \(=\('a', 'b'\)\) must be None for the COCO folder"):
        open_segmentation_folder(written, classes=("a", "b"))
