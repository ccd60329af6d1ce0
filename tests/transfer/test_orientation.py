"""Photographs that EXIF turns: read as their annotations mean them, or refused where nobody can know."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from resnest_edu.transfer import open_detection_folder, open_segmentation_folder
from resnest_edu.transfer.orientation import load_annotated
from tests.refused import assert_refused
from tests.transfer.annotated_folders import edit_coco, voc_object, write_coco, write_voc, write_voc_objects

ODD, WIDE, TALL, SQUARE = (5, 6, 7, 8), (8, 6), (6, 8), (6, 6)


def save(path: Path, size: tuple[int, int], orientation: int | None) -> Image.Image:
    """The picture as it is stored, every pixel another."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    image, exif = Image.fromarray(pixels), Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, exif=exif)
    return image


def test_the_stated_size_says_whether_stored_or_upright_pixels_are_meant(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for orientation in ODD:
        stored = save(path, WIDE, orientation)
        for expected, stated in (stored, WIDE), (ImageOps.exif_transpose(Image.open(path)), TALL):
            assert expected.size == stated and np.array_equal(load_annotated(path, stated, "a.xml"), expected)


def test_what_turns_nothing_is_read_as_it_is_and_so_are_damaged_metadata(tmp_path: Path) -> None:
    for orientation in (None, 0, 1, 9):
        stored = save(tmp_path / "a.png", WIDE, orientation)
        for stated in WIDE, None:
            assert np.array_equal(load_annotated(tmp_path / "a.png", stated, "a.xml"), stored)
    stored.save(tmp_path / "a.png", exif=b"no header")
    assert np.array_equal(load_annotated(tmp_path / "a.png", WIDE, "a.xml"), stored)


def test_where_the_size_cannot_tell_the_orientation_is_refused_by_its_number(tmp_path: Path) -> None:
    unknown = r"^EXIF orientation of .*a\.png \(={}\) must be 1, or exchange the sides of the size that a\.xml states"
    turned = r"^size of .*a\.png \(=\(6, 8\)\), turned from EXIF orientation 6, must be .* a\.xml \(=\(9, 9\)\)"
    rows = [((number, WIDE, stated), unknown.format(number)) for number in (2, 3, 4) for stated in (WIDE, None)]
    rows += [((number, *sizes), unknown.format(number)) for number in ODD for sizes in ((SQUARE, SQUARE), (WIDE, None))]
    rows += [((6, WIDE, (9, 9)), turned)]
    rows += [((1, WIDE, TALL), r"size of .*a\.png \(=\(8, 6\)\) must be that stated in a\.xml \(=\(6, 8\)\)")]
    path = tmp_path / "a.png"
    assert_refused(lambda row: (save(path, row[1], row[0]), load_annotated(path, row[2], "a.xml")), rows)


def test_both_formats_turn_their_pictures_by_the_sizes_that_they_state(tmp_path: Path) -> None:
    coco, voc = write_coco(tmp_path / "coco"), write_voc(tmp_path / "voc")

    def turn_the_first(orientation: int, width: int, height: int) -> None:
        def edit(content: dict) -> None:
            content["images"][0] |= {"width": width, "height": height}
            content["annotations"] = [one for one in content["annotations"] if one["image_id"] != 10]

        edit_coco(coco, edit)
        for path in (coco / "train2017" / "0000.png", voc / "JPEGImages" / "train_0000.png"):
            save(path, WIDE, orientation)
        write_voc_objects(voc, "train_0000", [voc_object("star", [1, 2, 3, 4])], size=(width, height))
        Image.new("L", (width, height), 1).save(voc / "SegmentationClass" / "train_0000.png")

    for width, height in (WIDE, TALL):
        turn_the_first(6, width, height)
        for root in (coco, voc):
            for opened in (open_detection_folder, open_segmentation_folder):
                assert opened(root).train[0][0].shape == (3, height, width)
    turn_the_first(3, *WIDE)
    for root in (coco, voc):
        for opened in (open_detection_folder, open_segmentation_folder):
            with pytest.raises(ValueError, match=r"^EXIF orientation of .*0000\.png \(=3\) must be 1, or exchange"):
                opened(root).train[0]
