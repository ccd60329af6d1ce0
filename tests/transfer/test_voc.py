import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.transfer import DetectionScenes, SegmentationScenes, open_detection_folder, open_segmentation_folder
from tests.transfer.annotated_folders import voc_object, write_voc, write_voc_objects

NAMES = ("background", *SHAPE_CLASSES)
FIRST = "train_0000"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_voc(tmp_path_factory.mktemp("voc") / "VOCdevkit" / "VOC2012")
    # The few scenes do not show every class, but here they must.
    every = [voc_object(name, [1, 2, 3, 4]) for name in SHAPE_CLASSES]
    write_voc_objects(folder, "every", every)
    Image.new("RGB", (96, 96)).save(folder / "JPEGImages" / "every.jpg")
    with (folder / "ImageSets" / "Main" / "train.txt").open("a") as file:
        file.write("every\n\n")
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A folder to spoil."""
    return shutil.copytree(written, tmp_path / "voc")


@pytest.mark.parametrize("up", [0, 1, 2])
def test_scenes_come_back_from_a_voc_folder_as_they_were(written: Path, up: int) -> None:
    root = [written, *written.parents][up]
    splits = open_detection_folder(root)
    assert splits.classes == tuple(sorted(SHAPE_CLASSES))
    for found, drawn, more in (
        (splits.train, DetectionScenes(4), 1),
        (splits.test, DetectionScenes(3, split="test"), 0),
    ):
        assert len(found) == len(drawn) + more  # type: ignore[arg-type]
        for index in range(len(drawn)):
            image, target = found[index]
            expected_image, expected = drawn[index]
            assert torch.equal(image, expected_image) and set(target) == {"boxes", "labels", "crowd"}
            assert torch.equal(target["boxes"], expected["boxes"]) and not target["crowd"].any()
            names = [splits.classes[label - 1] for label in target["labels"].tolist()]
            assert names == [SHAPE_CLASSES[label - 1] for label in expected["labels"].tolist()]


@pytest.mark.parametrize("up", [0, 1, 2])
def test_maps_come_back_from_a_voc_folder_as_they_were(written: Path, up: int) -> None:
    splits = open_segmentation_folder([written, *written.parents][up], classes=NAMES)
    assert splits.classes == NAMES
    for found, drawn in (splits.train, SegmentationScenes(4)), (splits.test, SegmentationScenes(3, split="test")):
        assert len(found) == len(drawn)  # type: ignore[arg-type]
        for index in range(len(drawn)):
            assert torch.equal(found[index][0], drawn[index][0]) and torch.equal(found[index][1], drawn[index][1])


def test_maps_have_the_classes_of_pascal_voc_unless_told(written: Path) -> None:
    splits = open_segmentation_folder(written)
    assert len(splits.classes) == 21 and splits.classes[0] == "background" and splits.classes[15] == "person"


def test_difficult_objects_are_marked_and_boxes_clipped_or_left_out(folder: Path) -> None:
    objects = [
        voc_object("star", [-4, -3, 200, 96], difficult=1),
        voc_object("star", [4, 5, 4, 9]),
        voc_object("ring", [0.5, 1, 10, 11.25]),
        voc_object("ring", [-9, 5, -1, 9]),
    ]
    write_voc_objects(folder, FIRST, objects)
    splits = open_detection_folder(folder)
    _, target = splits.train[0]
    assert target["boxes"].tolist() == [[0, 0, 96, 96], [0.5, 1, 10, 11.25]]
    assert target["crowd"].tolist() == [True, False]
    assert [splits.classes[label - 1] for label in target["labels"].tolist()] == ["star", "ring"]


def test_corners_count_from_one_and_lie_inside(folder: Path) -> None:
    path = folder / "Annotations" / f"{FIRST}.xml"
    path.write_text(
        "<annotation><object><name>star</name><bndbox>"
        "<ymin>1</ymin><xmin>3</xmin><xmax>3</xmax><ymax>2</ymax></bndbox></object></annotation>"
    )
    target = open_detection_folder(folder).train[0][1]
    assert target["boxes"].tolist() == [[2, 0, 3, 2]] and target["crowd"].tolist() == [False]


def test_an_image_without_an_object_is_an_empty_scene(folder: Path) -> None:
    write_voc_objects(folder, FIRST, [])
    target = open_detection_folder(folder).train[0][1]
    assert target["boxes"].shape == (0, 4) and target["labels"].shape == target["crowd"].shape == (0,)


def test_ignored_pixels_and_grey_maps_are_read(folder: Path) -> None:
    path = folder / "SegmentationClass" / f"{FIRST}.png"
    grey = Image.new("L", (96, 96), 255)
    grey.paste(2, (0, 0, 96, 10))
    grey.save(path)
    classes = open_segmentation_folder(folder).train[0][1]
    assert (classes[:10] == 2).all() and (classes[10:] == 255).all()


def overwrite(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


ONE = "<annotation><object><name>star</name><bndbox>{}</bndbox></object></annotation>"


def test_every_fault_of_a_detection_folder_is_named(written: Path, tmp_path: Path) -> None:
    rows = [
        (overwrite(f"Annotations/{FIRST}.xml", "<annotation>"), "cannot read annotation {xml}: ParseError"),
        (overwrite(f"Annotations/{FIRST}.xml", "<annotation/>"), "cannot read annotation {xml}: KeyError"),
        (overwrite(f"Annotations/{FIRST}.xml", "<html/>"), "cannot read annotation {xml}: KeyError"),
        (overwrite(f"Annotations/{FIRST}.xml", ONE.format("<xmin>1</xmin>")), "cannot read annotation {xml}: KeyError"),
        (
            lambda folder: write_voc_objects(folder, FIRST, [voc_object("star", [1, 2, float("nan"), 4])]),
            "cannot read annotation {xml}: ValueError: bndbox must be four finite numbers",
        ),
        (
            lambda folder: write_voc_objects(folder, FIRST, [voc_object("star", [1, 2, 3, 4])], size=(96, 95)),
            "size of {image} (=(96, 96)) must be that stated in {xml} (=(96, 95))",
        ),
        (
            lambda folder: write_voc_objects(folder, "val_0000", [voc_object("sphere", [1, 2, 3, 4])]),
            "name in {folder}/Annotations/val_0000.xml (=sphere) must be a class of the training images",
        ),
        (lambda folder: (folder / "Annotations" / f"{FIRST}.xml").unlink(), "cannot read annotation {xml}: File"),
        (lambda folder: (folder / "JPEGImages" / f"{FIRST}.png").unlink(), "cannot read image {folder}/JPEGImages/"),
        (lambda folder: (folder / "JPEGImages" / f"{FIRST}.png").write_bytes(b"\x89PNG"), "cannot read image {image}"),
        (
            lambda folder: shutil.rmtree(folder / "ImageSets" / "Main"),
            "VOC folder {folder} must contain ImageSets/Main",
        ),
        (overwrite("ImageSets/Main/train.txt", "\n"), "{folder}/ImageSets/Main/train.txt must name at least one"),
        (
            lambda folder: [
                write_voc_objects(folder, path.stem, []) for path in (folder / "Annotations").glob("*.xml")
            ],
            "annotations of {folder} must contain at least one object",
        ),
    ]
    for number, (spoil, fault) in enumerate(rows):
        folder = shutil.copytree(written, tmp_path / str(number))
        spoil(folder)
        xml, image = folder / "Annotations" / f"{FIRST}.xml", folder / "JPEGImages" / f"{FIRST}.png"
        with pytest.raises(ValueError, match=f"^{re.escape(fault.format(folder=folder, xml=xml, image=image))}"):
            open_detection_folder(folder).train[0]


def save_map(mode: str, size: tuple[int, int], value: int) -> Callable[[Path], object]:
    return lambda folder: Image.new(mode, size, value).save(folder / "SegmentationClass" / f"{FIRST}.png")


def test_every_fault_of_a_segmentation_folder_is_named(written: Path, tmp_path: Path) -> None:
    rows = [
        (save_map("L", (96, 95), 0), "{map}: map (=(torch.int64, (95, 96))) must be torch.int64 of shape (96, 96)"),
        (save_map("L", (96, 96), 21), "{map}: map (=21) must be from 0 to 20, or 255"),
        (save_map("RGB", (96, 96), 0), "mode of {map} (=RGB) must be P or L"),
        (lambda folder: (folder / "SegmentationClass" / f"{FIRST}.png").unlink(), "cannot read map {map}"),
        (lambda folder: shutil.rmtree(folder / "ImageSets" / "Segmentation"), "VOC folder {folder} must contain Image"),
    ]
    for number, (spoil, fault) in enumerate(rows):
        folder = shutil.copytree(written, tmp_path / str(number))
        spoil(folder)
        expected = fault.format(folder=folder, map=folder / "SegmentationClass" / f"{FIRST}.png")
        with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
            open_segmentation_folder(folder).train[0]


def test_masks_are_refused_with_a_reason(written: Path) -> None:
    with pytest.raises(ValueError, match=r"masks \(=True\) must be False for the VOC folder .* boxes alone"):
        open_detection_folder(written, masks=True)


def test_two_years_side_by_side_are_refused(written: Path, tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        shutil.copytree(written, tmp_path / "VOCdevkit" / year)
    with pytest.raises(ValueError, match="must be one folder of VOC's layout, not that of VOCdevkit/VOC2007, VOCd"):
        open_detection_folder(tmp_path)


@pytest.mark.parametrize("classes", [("background",), tuple(map(str, range(256)))])
def test_names_of_classes_are_from_2_to_255(written: Path, classes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=rf"classes \(={len(classes)}\) must be from 2 to 255"):
        open_segmentation_folder(written, classes=classes)
