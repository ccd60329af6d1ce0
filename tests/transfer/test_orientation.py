"""Photographs that EXIF turns: read as their annotations mean them, or refused where nobody can know."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from resnest_edu.transfer import open_detection_folder, open_segmentation_folder
from resnest_edu.transfer.orientation import load_annotated
from tests.refused import assert_refused
from tests.transfer.annotated_folders import coco_file, save_json, voc_object, write_voc_objects

ODD, WIDE, TALL, SQUARE = (5, 6, 7, 8), (8, 6), (6, 8), (6, 6)


def save(path: Path, size: tuple[int, int], orientation: int | None) -> Image.Image:
    """The picture as it is stored, every pixel another."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    image, exif = Image.fromarray(pixels), Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, exif=exif)
    return image


@pytest.mark.parametrize("orientation", ODD)
def test_the_stated_size_says_whether_stored_or_upright_pixels_are_meant(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.png"
    stored = save(path, WIDE, orientation)
    upright = ImageOps.exif_transpose(Image.open(path))
    assert upright.size == TALL
    for expected, stated in (stored, WIDE), (upright, TALL):
        assert np.array_equal(load_annotated(path, stated, "a.xml"), expected)


@pytest.mark.parametrize("orientation", [None, 0, 1, 9])
def test_what_turns_nothing_is_read_as_it_is(tmp_path: Path, orientation: int | None) -> None:
    stored = save(tmp_path / "a.png", WIDE, orientation)
    for stated in WIDE, None:
        assert np.array_equal(load_annotated(tmp_path / "a.png", stated, "a.xml"), stored)


def test_damaged_metadata_turn_nothing(tmp_path: Path) -> None:
    stored = Image.new("RGB", WIDE, "red")
    stored.save(tmp_path / "a.png", exif=b"no header")
    assert load_annotated(tmp_path / "a.png", WIDE, "a.xml").size == WIDE


def test_where_the_size_cannot_tell_the_orientation_is_refused_by_its_number(tmp_path: Path) -> None:
    rows: list[tuple[tuple[int, tuple[int, int], tuple[int, int] | None], str]] = []
    for orientation in (2, 3, 4):
        rows += [
            ((orientation, WIDE, stated), rf"orientation of .*a\.png \(={orientation}\) must be 1")
            for stated in (WIDE, None)
        ]
    for orientation in ODD:
        rows += [((orientation, SQUARE, SQUARE), rf"orientation of .*a\.png \(={orientation}\) must be 1, or exchange")]
        rows += [((orientation, WIDE, None), rf"orientation of .*a\.png \(={orientation}\) must be 1, or exchange")]
    rows += [
        (
            (6, WIDE, (9, 9)),
            r"size of .*a\.png \(=\(6, 8\)\), turned from EXIF orientation 6, must be .* a\.xml \(=\(9, 9",
        )
    ]
    rows += [((1, WIDE, TALL), r"size of .*a\.png \(=\(8, 6\)\) must be that stated in a\.xml \(=\(6, 8\)\)")]
    path = tmp_path / "a.png"

    def load(row: tuple[int, tuple[int, int], tuple[int, int] | None]) -> None:
        orientation, size, stated = row
        save(path, size, orientation)
        load_annotated(path, stated, "a.xml")

    assert_refused(load, rows)


def write(root: Path, orientation: int, stated: tuple[int, int]) -> None:
    """A COCO folder in ``root / "coco"`` and a VOC folder in ``root / "voc"`` of one turned picture; its object is what
    is white in the picture of the stated size."""
    coco, voc = root / "coco", root / "voc"
    for folder in (
        coco / "train",
        coco / "val",
        voc / "JPEGImages",
        voc / "SegmentationClass",
        *(voc / "ImageSets" / task for task in ("Main", "Segmentation")),
    ):
        folder.mkdir(parents=True)
    seen = Image.new("RGB", stated)
    seen.paste("white", (1, 2, 5, 4))
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Stored so that turning it back would give what is seen, if it is the upright picture that is stated.
    stored = seen if stated == (80, 60) else seen.transpose(Image.Transpose.ROTATE_90)
    record = {"id": 1, "file_name": "a.png", "width": stated[0], "height": stated[1]}
    one = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 4, 2], "segmentation": [[1, 2, 5, 2, 5, 4, 1, 4]]}
    for split in ("train", "val"):
        stored.save(coco / split / "a.png", exif=exif)
        save_json(
            coco_file(coco, split, ""),
            {"images": [record], "annotations": [one], "categories": [{"id": 1, "name": "x"}]},
        )
        for task in ("Main", "Segmentation"):
            (voc / "ImageSets" / task / f"{split}.txt").write_text("a")
    stored.save(voc / "JPEGImages" / "a.png", exif=exif)
    write_voc_objects(voc, "a", [voc_object("x", [1, 2, 5, 4])], size=stated)
    seen.convert("L").point(lambda value: value // 255).save(voc / "SegmentationClass" / "a.png")


@pytest.mark.parametrize("stated", [(80, 60), (60, 80)])
def test_boxes_masks_and_maps_lie_on_the_object_in_both_formats(tmp_path: Path, stated: tuple[int, int]) -> None:
    write(tmp_path, 6, stated)
    for name in ("coco", "voc"):
        image, target = open_detection_folder(tmp_path / name, masks=name == "coco").train[0]
        white = image[0] == 255
        assert white.nonzero().aminmax(dim=0).min.tolist() == [2, 1] and target["boxes"].tolist() == [[1, 2, 5, 4]]
        if name == "coco":
            assert (target["masks"][0] == white).all()
        image, classes = open_segmentation_folder(tmp_path / name).train[0]
        assert ((image[0] == 255) == (classes == 1)).all() and image.shape[1:] == stated[::-1]
    write(tmp_path / "turned", 3, (80, 60))
    for name in ("coco", "voc"):
        for opened in (open_detection_folder, open_segmentation_folder):
            with pytest.raises(ValueError, match=r"^EXIF orientation of .*a\.png \(=3\) must be 1, or exchange"):
                opened(tmp_path / "turned" / name).train[0]
