import json
import math
import re
import reprlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle

from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.transfer import DetectionScenes, SegmentationScenes, open_detection_folder, open_segmentation_folder
from tests.transfer.annotated_folders import CATEGORY_IDS, assert_named, coco_file, edit_coco, write_coco


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("coco"))


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """A folder to spoil."""
    return shutil.copytree(written, tmp_path / "coco")


def test_scenes_come_back_from_a_coco_folder_as_they_were(written: Path, capfd: pytest.CaptureFixture) -> None:
    boxes, outlines, maps = (
        open_detection_folder(written),
        open_detection_folder(written, masks=True),
        open_segmentation_folder(written),
    )
    assert boxes.classes == outlines.classes == SHAPE_CLASSES and maps.classes == ("background", *SHAPE_CLASSES)
    for part, count in ("train", 4), ("test", 3):
        drawn, truth = DetectionScenes(count, split=part), SegmentationScenes(count, split=part)
        for splits in boxes, outlines, maps:
            assert len(getattr(splits, part)) == count
        for index in range(count):
            image, expected = drawn[index]
            found = getattr(outlines, part)[index]
            assert found[1].keys() == expected.keys() == getattr(boxes, part)[index][1].keys() | {"masks"}
            for name, field in found[1].items():
                assert field.dtype == expected[name].dtype and torch.equal(field, expected[name]), name
            for one in found, getattr(boxes, part)[index], getattr(maps, part)[index]:
                assert torch.equal(one[0], image)
            assert torch.equal(getattr(maps, part)[index][1], truth[index][1])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("year", "inside"), [("2014", ""), ("", "images")])
def test_other_years_and_places_of_the_images_are_found(tmp_path: Path, year: str, inside: str) -> None:
    splits = open_detection_folder(write_coco(tmp_path, year=year, inside=inside))
    assert torch.equal(splits.train[0][0], DetectionScenes(1)[0][0])


def with_objects(root: Path, *objects: dict[str, Any], beside: bool = False) -> None:
    """Give the first training image these objects, and the others what they had (``beside``) or nothing."""

    def edit(content: dict[str, Any]) -> None:
        others = [one for one in content["annotations"] if one["image_id"] != 10 and beside]
        content["annotations"] = others + [
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
    outline = {"size": [96, 96], "counts": [*runs, 96 * 96 - sum(runs)]}
    return {"bbox": [x1, y1, x2 - x1, height], "segmentation": outline, "iscrowd": 1}


def test_polygons_of_several_parts_and_both_kinds_of_runs_are_read(root: Path) -> None:
    parts = square(10, 20, 30, 50)["segmentation"] + square(40, 60, 50, 90)["segmentation"]
    polygons = square(10, 20, 50, 90) | {"segmentation": parts}
    with_objects(root, polygons, crowd(40, 5, 60, 11), compressed(crowd(40, 5, 60, 11)))
    target = open_detection_folder(root, masks=True).train[0][1]
    assert target["boxes"].tolist() == [[10, 20, 50, 90], [40, 5, 60, 11], [40, 5, 60, 11]]
    assert target["crowd"].tolist() == [False, True, True]
    expected = torch.zeros(3, 96, 96, dtype=torch.uint8)
    expected[0, 20:50, 10:30] = expected[0, 60:90, 40:50] = expected[1:, 5:11, 40:60] = 1
    assert torch.equal(target["masks"], expected)


def test_compressed_runs_of_any_length_are_those_of_cocos_library(root: Path) -> None:
    generator = np.random.default_rng(0)
    masks = [generator.random((96, 96)) < share for share in (0, 0.001, 0.02, 0.5, 0.98, 1)]
    shapes = [rle.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    texts = [{"size": [96, 96], "counts": shape["counts"].decode()} for shape in shapes]
    with_objects(root, *(square(0, 0, 96, 96) | {"segmentation": text} for text in texts))
    found = open_detection_folder(root, masks=True).train[0][1]["masks"]
    assert np.array_equal(found, np.stack(masks[1:]))  # the first has no pixel


def test_the_file_is_text_in_utf_8_with_a_mark_or_without(root: Path) -> None:
    # The same word, with its accent apart and in one.
    for split, word, mark in ("train", "cafe\u0301", "\ufeff"), ("val", "café", ""):
        edit_coco(root, lambda content, word=word: content["categories"][0].update(name=word), split)
        text = json.dumps(json.loads(coco_file(root, split).read_text()), ensure_ascii=False)
        coco_file(root, split).write_bytes((mark + text).encode())
    assert open_detection_folder(root).classes == ("café", *SHAPE_CLASSES[1:])


def test_numbers_of_other_types_that_mean_the_same_are_taken(root: Path) -> None:
    expected = open_detection_folder(root).train[0][1]

    def spell(content: dict[str, Any]) -> None:
        for kind, number in ("images", "id"), ("annotations", "image_id"), ("images", "height"):
            for one in content[kind]:
                one[number] = float(one[number])
        for one in content["annotations"]:
            one |= {"id": f"of {one['id']}", "iscrowd": None}

    edit_coco(root, spell)
    found = open_detection_folder(root).train[0][1]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def compressed(one: dict[str, Any]) -> dict[str, Any]:
    shape = rle.frPyObjects(one["segmentation"], 96, 96)
    return one | {"segmentation": {"size": [96, 96], "counts": shape["counts"].decode()}}


def test_boxes_are_clipped_and_those_without_area_left_out(root: Path) -> None:
    inside, nothing = square(1, 2, 9, 9), {"segmentation": {"size": [96, 96], "counts": [96 * 96]}}
    with_objects(root, inside, inside | nothing)  # which counts where masks are not asked for
    assert [len(open_detection_folder(root, masks=masks).train[0][1]["labels"]) for masks in (True, False)] == [1, 2]
    left_out = [10, 10, 0, 5], [10, 10, 5, 0], [97, 10, 5, 5], [10, -20, 5, 5]
    other = inside | {"bbox": [80, 90, 40, 40], "category_id": CATEGORY_IDS[2]}
    with_objects(root, inside | {"bbox": [-5, -6, 20.5, 30]}, *(inside | {"bbox": box} for box in left_out), other)
    target = open_detection_folder(root, masks=True).train[0][1]
    assert target["boxes"].tolist() == [[0, 0, 15.5, 24], [80, 90, 96, 96]]
    assert target["labels"].tolist() == [1, 3] and len(target["masks"]) == len(target["crowd"]) == 2


@pytest.mark.parametrize("objects", [[], [square(1, 2, 9, 9) | {"bbox": [10, 10, 0, 0]}]])
def test_an_image_without_an_object_is_an_empty_scene(root: Path, objects: list[dict[str, Any]]) -> None:
    with_objects(root, *objects, beside=True)
    _, target = open_detection_folder(root, masks=True).train[0]
    shapes = {name: tuple(field.shape) for name, field in target.items()}
    assert shapes == {"boxes": (0, 4), "labels": (0,), "crowd": (0,), "masks": (0, 96, 96)}
    with_objects(root, beside=True)
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
    expected[:20, :10] = expected[20:30, :15] = 1
    expected[:20, 20:30] = 2
    assert np.array_equal(open_segmentation_folder(root).train[0][1], expected)


def edited(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda root: edit_coco(root, edit)


def first(field: str, value: object) -> Callable[[Path], None]:
    return edited(lambda content: content["annotations"][0].update({field: value}))


def all_crowds(content: dict[str, Any]) -> None:
    for one in content["annotations"]:
        one["iscrowd"] = 1


def repeated(kind: str, **changes: object) -> Callable[[Path], None]:
    return edited(lambda content: content[kind].append(content[kind][0] | changes))


# What must not stand in an annotation, and what is then said of its value: COCO's own library dies of the far polygons.
VALUES: list[tuple[str, str, list[Any]]] = [
    ("category_id", "category_id (={}) must be in the file", [4, [3], "3", None, True]),
    ("image_id", "image_id (={}) must be in the file", [4, "10", [10]]),
    ("iscrowd", "iscrowd (={}) must be 0 or 1", ["0", 2, []]),
    (
        "bbox",
        "bbox (={}) must be four finite numbers, width and height of at least 0",
        [[1, 2, 3], [1, 2, 3, math.nan], [1, 2, -3, 4], [1, 2, 3, 10**400], [*"1234"], [True, 2, 3, 4], None],
    ),
]
PARTS = [[1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, math.nan], "abcdef", 7, [[1, 2], [3, 4], [5, 6]]]
FAR = [[0, 0, 1e9, 0, 1e9, 5], [0, 0, 193, 0, 9, 9], [0, 0, 9, 0, 9, -97]]
COUNTS = [[9300, -84], [9216.0], [True, 9215], "`d2o", "é", "o" * 9999, None]


def test_every_fault_is_named(written: Path, tmp_path: Path) -> None:
    of_one = [
        (field, value, f": {fault}".format(reprlib.repr(value))) for field, fault, all_ in VALUES for value in all_
    ]
    polygons, runs = (
        ": polygons of segmentation (={}) must {}",
        ": run lengths of segmentation (={} pixels) must fill 96 x 96",
    )
    outlines = [([part], polygons.format(reprlib.repr(part), "be lists of at least six finite")) for part in PARTS]
    outlines += [([part], polygons.format(reprlib.repr(part), "lie in the image of 96 x 96")) for part in FAR]
    outlines += [(value, " must have a segmentation") for value in ([], None)]
    outlines += [([1, 2, 3, 4, 5, 6], polygons.format(1, "be lists")), (7, polygons.format(7, "be lists"))]
    fills = [([50], 50), ([9217], 9217), ("`d2", 2704)]
    of_runs = [(counts, f": counts of segmentation (={reprlib.repr(counts)}) must be run lengths") for counts in COUNTS]
    of_runs += [(counts, runs.format(pixels)) for counts, pixels in fills]
    outlines += [({"size": [96, 96], "counts": counts}, fault) for counts, fault in of_runs]
    outlines += [({"size": [9, 9], "counts": [81]}, ": size of segmentation (=[9, 9]) must be [96, 96]")]
    of_one += [("segmentation", value, fault) for value, fault in outlines]
    rows = [(first(field, value), f"annotation 1 of {{file}}{fault}") for field, value, fault in of_one]
    for side in "96", 0, None, 95.5:
        fault = f"image 10 of {{file}}: width (={side!r}) must be an integer of at least 1"
        rows.append((edited(lambda content, side=side: content["images"][0].update(width=side)), fault))
    for kind in "images", "annotations", "categories":
        for change in (
            lambda content, kind=kind: content.pop(kind),
            lambda content, kind=kind: content[kind].append([]),
            lambda content, kind=kind: content.update({kind: {}}),
        ):
            rows.append((edited(change), f"{kind} of {{file}} must be a list of JSON objects"))
        for number in None, [1], True, math.nan:
            fault = f"{kind}[0] of {{file}}: id (={number!r}) must be a number or a text"
            rows.append((edited(lambda content, kind=kind, number=number: content[kind][0].update(id=number)), fault))
    for text in "[]", '"text"', "null":
        rows.append((lambda root, text=text: coco_file(root).write_text(text), "annotations {file} (a "))
    for raw in b"{", b"", b'{"images": "\xe9"}', b"[" * 100_000:
        rows.append((lambda root, raw=raw: coco_file(root).write_bytes(raw), "cannot read annotations {file}: "))
    small, image = Image.new("RGB", (96, 95)), "train2017/0000.png"
    other_year = "annotations in {root} (=instances_train2014.json, instances_train2017.json) must be one file"
    rows += [
        (repeated("images", file_name="other.png"), "images of {file}: id (=10) must be that of one alone"),
        (repeated("annotations", category_id=4), "annotations of {file}: id (=1) must be that of one alone"),
        (repeated("categories", name="dog"), "categories of {file}: id (=3) must be that of one alone"),
        (repeated("images", id=99), "image 99 of {file}: file_name must not be that of image 10"),
        (
            lambda root: small.save(root / image),
            "size of {image} (=(96, 95)) must be that stated in {file} (=(96, 96))",
        ),
        (edited(lambda content: content["images"][0].update(file_name=1)), "image 10 of {file} must have a file_name"),
        (edited(lambda content: content.update(images=[], annotations=[])), "{file} (=0 images, 8 categories)"),
        (edited(lambda content: content.update(categories=[], annotations=[])), "{file} (=4 images, 0 categories)"),
        (edited(lambda content: content["categories"][0].pop("name")), "category 3 of {file} must have a name"),
        (edited(all_crowds), "annotations of {file} must contain at least one object that is not a crowd"),
        (edited(lambda content: content.update(annotations=[])), "annotations of {file} must contain at least one"),
        (lambda root: edit_coco(root, all_crowds, "val"), "annotations of {test} must contain at least one object"),
        (lambda root: (root / image).unlink(), "cannot read image {image}"),
        (lambda root: (root / image).write_bytes(b"\x89PNG"), "cannot read image {image}"),
        (lambda root: shutil.rmtree(root / "train2017"), "root (={root}) must contain train2017 or images/train2017"),
        (lambda root: coco_file(root, "val").unlink(), "annotations in {root} (=none) must be one file instances_val*"),
        (lambda root: shutil.copy(coco_file(root), coco_file(root, year="2014")), other_year),
        (
            edited(lambda content: content["categories"][0].update(name="ball")),
            "categories of the test in {root} (=('d",
        ),
    ]

    def read(root: Path) -> None:
        open_detection_folder(root, masks=True).train[0]

    files = {"file": coco_file(Path()), "test": coco_file(Path(), "val"), "image": Path(image), "root": Path()}
    assert_named(written, tmp_path, rows, files, read)


def test_maps_have_the_same_checks_and_classes_of_their_own(written: Path, root: Path) -> None:
    path = root / "train2017" / "0000.png"
    Image.new("RGB", (96, 95)).save(path)
    with pytest.raises(ValueError, match=re.escape(f"size of {path} (=(96, 95)) must be that stated in")):
        open_segmentation_folder(root).train[0]
    with pytest.raises(ValueError, match=r"classes \(=\('a', 'b'\)\) must be None for the COCO folder"):
        open_segmentation_folder(written, classes=("a", "b"))
