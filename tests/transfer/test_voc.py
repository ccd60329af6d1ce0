import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.transfer import DetectionScenes, SegmentationScenes, open_detection_folder, open_segmentation_folder
from tests.refused import assert_refused
from tests.transfer.annotated_folders import assert_named, voc_object, write_voc, write_voc_objects

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
    boxes, maps = open_detection_folder(root), open_segmentation_folder(root, classes=NAMES)
    assert open_segmentation_folder(root).classes[::15] == ("background", "person")
    assert boxes.classes == tuple(sorted(SHAPE_CLASSES)) and maps.classes == NAMES
    for part, count, more in ("train", 4, 1), ("test", 3, 0):
        found, drawn = getattr(boxes, part), DetectionScenes(count, split=part)
        classes, truth = getattr(maps, part), SegmentationScenes(count, split=part)
        assert len(found) == count + more and len(classes) == count
        for index in range(count):
            (image, target), (expected_image, expected) = found[index], drawn[index]
            assert torch.equal(image, expected_image) and set(target) == {"boxes", "labels", "crowd"}
            assert torch.equal(target["boxes"], expected["boxes"]) and not target["crowd"].any()
            names = [boxes.classes[label - 1] for label in target["labels"].tolist()]
            assert names == [SHAPE_CLASSES[label - 1] for label in expected["labels"].tolist()]
            assert torch.equal(classes[index][0], image) and torch.equal(classes[index][1], truth[index][1])


def test_difficult_objects_are_marked_and_boxes_clipped_or_left_out(folder: Path) -> None:
    objects = [voc_object("star", [-4, -3, 200, 96], difficult=1), voc_object("star", [4, 5, 4, 9])]
    objects += [voc_object("ring", [0.5, 1, 10, 11.25]), voc_object("ring", [-9, 5, -1, 9])]
    write_voc_objects(folder, FIRST, objects)
    splits = open_detection_folder(folder)
    _, target = splits.train[0]
    assert target["boxes"].tolist() == [[0, 0, 96, 96], [0.5, 1, 10, 11.25]] and target["crowd"].tolist() == [
        True,
        False,
    ]
    assert [splits.classes[label - 1] for label in target["labels"].tolist()] == ["star", "ring"]


def test_corners_count_from_one_and_lie_inside(folder: Path) -> None:
    path = folder / "Annotations" / f"{FIRST}.xml"
    path.write_text(
        "<annotation><object><name>star</name><bndbox>"
        "<ymin>1</ymin><xmin>3</xmin><xmax>3</xmax><ymax>2</ymax></bndbox></object></annotation>"
    )
    target = open_detection_folder(folder).train[0][1]
    assert target["boxes"].tolist() == [[2, 0, 3, 2]] and target["crowd"].tolist() == [False]
    write_voc_objects(folder, FIRST, [])
    empty = open_detection_folder(folder).train[0][1]
    assert empty["boxes"].shape == (0, 4) and empty["labels"].shape == empty["crowd"].shape == (0,)


def test_ignored_pixels_and_grey_maps_are_read(folder: Path) -> None:
    path = folder / "SegmentationClass" / f"{FIRST}.png"
    grey = Image.new("L", (96, 96), 255)
    grey.paste(2, (0, 0, 96, 10))
    grey.save(path)
    classes = open_segmentation_folder(folder).train[0][1]
    assert (classes[:10] == 2).all() and (classes[10:] == 255).all()


def overwrite(name: str, content: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def rename(old: str, new: str) -> Callable[[Path], object]:
    """Call everything that belongs to an image something else."""
    folders = {"JPEGImages": ".png", "Annotations": ".xml", "SegmentationClass": ".png"}
    return lambda folder: [
        (folder / part / f"{old}{ending}").rename(folder / part / f"{new}{ending}") for part, ending in folders.items()
    ]


def test_lists_are_read_as_people_write_them(written: Path, tmp_path: Path) -> None:
    rows: list[tuple[str, bytes]] = [  # the image's name, the list
        (FIRST, f"\ufeff{FIRST}\r\n\r\n".encode()),
        (FIRST, f"\n  {FIRST}  1\n".encode()),
        (FIRST, f"{FIRST}\t-1".encode()),
        ("my cat", b"my cat\n"),
        ("my cat", b"my cat 0\n"),
        ("photo 1", b"photo 1\n"),
        ("photo 1", b"photo 1 -1\n"),
        ("a.v2", b"a.v2\n"),
        ("caf\u00e9", "cafe\u0301".encode()),  # the accent apart, and in one
        ("cafe\u0301", "caf\u00e9".encode()),
    ]
    for number, (name, content) in enumerate(rows):
        folder = shutil.copytree(written, tmp_path / str(number))
        if name != FIRST:
            rename(FIRST, name)(folder)
        (folder / "ImageSets" / "Main" / "train.txt").write_bytes(content + b"\nevery\n")
        (folder / "ImageSets" / "Segmentation" / "train.txt").write_bytes(content)
        boxes, maps = open_detection_folder(folder).train, open_segmentation_folder(folder).train
        assert len(boxes) == 2 and torch.equal(boxes[0][0], DetectionScenes(1)[0][0])
        assert len(maps) == 1 and torch.equal(maps[0][1], SegmentationScenes(1)[0][1])


@pytest.mark.parametrize("ending", [".JPG", ".bmp", ".TIF", ".webp"])
def test_an_image_may_have_any_readable_ending(folder: Path, ending: str) -> None:
    path = folder / "JPEGImages" / f"{FIRST}.png"
    image = Image.open(path).copy()
    path.unlink()
    image.save(path.with_suffix(ending), lossless=True)
    path.with_suffix(".txt").write_text("no image")
    (folder / "Annotations" / f"{FIRST}.xml").rename(folder / "Annotations" / f"{FIRST}.XML")
    for splits in (open_detection_folder(folder), open_segmentation_folder(folder)):
        error = (splits.train[0][0].double() - DetectionScenes(1)[0][0]).abs().mean()
        assert error < 12 if ending == ".JPG" else error == 0


def test_difficult_is_a_number_or_a_word_and_entities_are_read(folder: Path) -> None:
    text = voc_object("s&#116;a&amp;r", [1, 2, 3, 4]) + voc_object("ring", [1, 2, 3, 4]).replace(">0<", ">True<")
    overwrite(f"Annotations/{FIRST}.xml", f"<annotation>{text}</annotation>")(folder)
    splits = open_detection_folder(folder)
    assert "sta&r" in splits.classes and splits.train[0][1]["crowd"].tolist() == [False, True]


ONE = "<annotation><object><name>star</name><bndbox>{}</bndbox></object></annotation>"
SIDES = "<xmin>1</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>4</ymax>"
LAUGHS = "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9))
BOMB = f'<!DOCTYPE l [<!ENTITY a "ha">{LAUGHS}]>' + ONE.format(SIDES.format(5)).replace("star", "&j;")


def test_every_fault_of_a_detection_folder_is_named(written: Path, tmp_path: Path) -> None:
    corners = "must be four finite numbers, the greater ones last"
    texts = [
        ("<annotation>", "no element found"),
        ("", "no element found"),
        ("<annotation/>", "it must be an <annotation> with a <size> or an <object>"),
        ("<html/>", "it must be an <annotation>"),
        (ONE.format("<xmin>1</xmin>"), f"bndbox (=['1', '', '', '']) {corners}"),
        (ONE.format(SIDES.format("nan")), f"bndbox (=['1', '2', 'nan', '4']) {corners}"),
        (ONE.format(SIDES.format("1e999")), f"bndbox (=['1', '2', '1e999', '4']) {corners}"),
        (ONE.format(SIDES.format("wide")), f"bndbox (=['1', '2', 'wide', '4']) {corners}"),
        (ONE.format(SIDES.format("-1")), f"bndbox (=['1', '2', '-1', '4']) {corners}"),
        (ONE.format(SIDES.format(9)).replace("star", " "), "an object must have a name and one bndbox"),
        (ONE.format(SIDES.format(9)).replace("</object>", "<bndbox/></object>"), "an object must have a name and one"),
        (ONE.format("").replace("<bndbox></bndbox>", "<polygon/>"), "an object must have a name and one bndbox"),
        (voc_object("star", [1, 2, 3, 4], 2).join(["<annotation>", "</annotation>"]), "difficult (=2) must be 0 or 1"),
        (ONE.format("").replace("star", "&star;"), "undefined entity"),
        (ONE.format("").replace("star", "\xe9").encode("latin-1"), "not well-formed"),
        (BOMB, "limit on input amplification factor"),
    ]
    rows = [
        (overwrite(f"Annotations/{FIRST}.xml", text), f"cannot read annotation {{xml}}: {fault}")
        for text, fault in texts
    ]
    star, ball, difficult = (
        voc_object(name, [1, 2, 3, 4], flag) for name, flag in (("star", 0), ("ball", 0), ("star", 1))
    )
    no_object = "must contain at least one object that is not difficult"
    rows += [
        (holds(FIRST, [star], (96, 95)), "size of {image} (=(96, 96)) must be that stated in {xml} (=(96, 95))"),
        (
            holds("val_0000", [ball]),
            "name in {folder}/Annotations/val_0000.xml (=ball) must be a class of the training",
        ),
        (lambda folder: (folder / "Annotations" / f"{FIRST}.xml").unlink(), "cannot read annotation {xml}: "),
        (lambda folder: (folder / "JPEGImages" / f"{FIRST}.png").unlink(), "cannot read image {folder}/JPEGImages/"),
        (lambda folder: (folder / "JPEGImages" / f"{FIRST}.png").write_bytes(b"\x89PNG"), "cannot read image {image}"),
        (lambda folder: shutil.rmtree(folder / "ImageSets" / "Main"), "VOC folder {folder} must contain ImageSets/Ma"),
        (overwrite("ImageSets/Main/train.txt", "\n"), "{list} must name at least one"),
        (overwrite("ImageSets/Main/train.txt", f"{FIRST}\n".encode("utf-16")), "{list} must be text in UTF-8: "),
        (overwrite("ImageSets/Main/train.txt", b"caf\xe9\n"), "{list} must be text in UTF-8: "),
        (
            overwrite("ImageSets/Main/train.txt", f"{FIRST} 2\n"),
            "cannot read annotation {folder}/Annotations/train_0000 2",
        ),
        (holds("*", []), f"train annotations of {{folder}} {no_object}"),
        (holds("val*", []), f"val annotations of {{folder}} {no_object}"),
        (holds("val*", [difficult]), f"val annotations of {{folder}} {no_object}"),
    ]
    files = {"folder": "", "xml": f"Annotations/{FIRST}.xml", "image": f"JPEGImages/{FIRST}.png"}
    files["list"] = "ImageSets/Main/train.txt"
    assert_named(written, tmp_path, rows, files, lambda folder: open_detection_folder(folder).train[0])


def holds(names: str, objects: list[str], size: tuple[int, int] = (96, 96)) -> Callable[[Path], object]:
    return lambda folder: [
        write_voc_objects(folder, path.stem, objects, size) for path in (folder / "Annotations").glob(f"{names}.xml")
    ]


def save_map(
    mode: str, value: int, size: tuple[int, int] = (96, 96), names: str = FIRST, **options: object
) -> Callable[[Path], object]:
    return lambda folder: [
        Image.new(mode, size, value).save(path, **options)
        for path in (folder / "SegmentationClass").glob(f"{names}.png")
    ]


def test_every_fault_of_a_segmentation_folder_is_named(written: Path, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    rows = [
        (save_map("L", 1, (96, 95)), "size of {image} (=(96, 96)) must be that stated in {map} (=(96, 95))"),
        (save_map("L", 21), "{map}: map (=21) must be from 0 to 20, or 255"),
        (save_map("RGB", 0), "mode of {map} (=RGB) must be P or L"),
        (save_map("1", 1), "mode of {map} (=1) must be P or L"),
        (save_map("L", 1, exif=turned), "EXIF orientation of {map} (=6) must be 1"),
        (save_map("L", 0, names="train*"), "train maps of {folder} must contain a class besides the background, 0"),
        (
            save_map("L", 255, names="train*"),
            "train maps of {folder} must contain a class besides the background, 0; 255 is ignored: is it meant",
        ),
        (save_map("L", 0, names="val*"), "val maps of {folder} must contain a class besides the background, 0"),
        (lambda folder: (folder / "SegmentationClass" / f"{FIRST}.png").unlink(), "cannot read map {map}"),
        (lambda folder: shutil.rmtree(folder / "ImageSets" / "Segmentation"), "VOC folder {folder} must contain Image"),
    ]
    files = {"folder": "", "map": f"SegmentationClass/{FIRST}.png", "image": f"JPEGImages/{FIRST}.png"}
    assert_named(written, tmp_path, rows, files, lambda folder: open_segmentation_folder(folder).train[0])


def test_what_voc_has_not_and_what_is_there_twice_is_refused(written: Path, tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        shutil.copytree(written, tmp_path / "VOCdevkit" / year)
    twice = "must be one folder of VOC's layout, not that of VOCdevkit/VOC2007, VOCd"
    count = r"classes \(={}\) must be from 2 to 255"
    rows: list[tuple[Any, str]] = [
        (lambda: open_detection_folder(written, masks=True), r"masks \(=True\) must be False for .* boxes alone"),
        (lambda: open_detection_folder(tmp_path), twice),
        (lambda: open_segmentation_folder(written, classes=("background",)), count.format(1)),
        (lambda: open_segmentation_folder(written, classes=tuple(map(str, range(256)))), count.format(256)),
    ]
    assert_refused(lambda call: call(), rows)
