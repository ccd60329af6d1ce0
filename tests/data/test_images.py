import re
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnest_edu.data import cifar10, decode, open_image_folder
from resnest_edu.data.images import ImageSplits
from tests.refused import assert_refused

RED = (250, 10, 20)


def save(path: Path, image: Image.Image | None = None, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.new("RGB", (8, 8), RED)).save(path, **options)


def fill(root: Path, *classes: str, count: int = 2) -> Path:
    for name in classes:
        for index in range(count):
            save(root / name / f"{index:03d}.png")
    return root


def break_file(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    save(path, Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("shape", [(40, 20), (20, 40)])
def test_shorter_side_is_resized_and_the_centre_cut_out(tmp_path: Path, shape: tuple[int, int]) -> None:
    image = Image.new("RGB", shape, "black")
    width, height = shape
    image.paste(RED, ((width - 20) // 2, (height - 20) // 2, (width + 20) // 2, (height + 20) // 2))
    save(fill(tmp_path, "b") / "a" / "0.png", image)
    save(tmp_path / "a" / "1.png", image)
    item, label = open_image_folder(tmp_path, size=10).train[0]
    assert item.dtype == torch.uint8 and item.shape == (3, 10, 10) and item.is_contiguous() and label == 0
    # The filter mixes a little of the neighbourhood into the outermost pixels.
    assert (item.permute(1, 2, 0)[1:-1, 1:-1].numpy() == RED).all()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        *((names, "no val partition: the test") for names in ("Train Test", "training testing")),
        *((f"train {val}", "no test partition: the val") for val in ("VAL", "valid", "validation", "dev", "eval")),
        *((names, "the val images choose the best epoch") for names in ("train test val", "Training TEST Validation")),
    ],
)
def test_partitions_in_any_spelling(names: str, said: str, tmp_path: Path) -> None:
    """Of two the one held out is the test, whatever its name; a third chooses the best epoch."""
    for count, name in enumerate(names.split(), 2):
        fill(tmp_path / name, "cat", "dog", count=count)
    if len(names.split()) == 2:  # flat ones have no labels: they are passed over
        save(tmp_path / ("test" if "no test" in said else "val") / "1.png")
    splits = open_image_folder(tmp_path, size=4)
    assert splits.classes == ("cat", "dog") and splits.skipped == () and splits.chooses.startswith(said)
    parts = [part for part in (splits.train, splits.test, splits.val) if part]
    found = [[label for _, label in part] for part in parts]
    assert found == [[0] * count + [1] * count for count in range(2, 2 + len(names.split()))]


def test_hidden_and_system_files_are_no_images_at_any_depth(tmp_path: Path) -> None:
    for root in (tmp_path / "whole", tmp_path / "parts" / "train", tmp_path / "parts" / "test"):
        fill(root, "cat", "dog", count=3)
        for name in (".ipynb_checkpoints", ".git", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"):
            fill(root / name, "cat", count=1)
            save(root / "cat" / name / "0.png")
        for name in ("._0.png", ".hidden.png", "Thumbs.db", "desktop.ini", "._cat"):
            (root / "cat" / name).write_bytes(b"system")
            (root / name).write_bytes(b"system")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, sizes in (("whole", (4, 2)), ("parts", (6, 6))):
            splits = open_image_folder(tmp_path / name, size=4)
            assert splits.classes == ("cat", "dog") and (len(splits.train), len(splits.test)) == sizes
            decode(splits.train, progress=False)


def test_every_ending_that_pillow_reads_and_a_count_of_the_others(tmp_path: Path) -> None:
    endings = (".PNG", ".jpg", ".JPEG", ".jfif", ".jpe", ".gif", ".webp", ".jp2", ".TIF", ".bmp", ".ppm")
    for ending in endings:
        save(tmp_path / "cat" / f"x{ending}")
    for name in ("a.heic", "b.HEIC", "c.txt", "none"):
        (fill(tmp_path, "dog") / "dog" / name).write_bytes(b"other")
    save(tmp_path / "beside.png")
    said = "left out 5 file(s): 2 .heic, 1 .txt, 1 without ending, 1 beside the class folders"
    with pytest.warns(UserWarning, match=f"^{re.escape(said)}$"):
        splits = open_image_folder(tmp_path, size=4)
    assert len(splits.train) + len(splits.test) == len(endings) + 2
    assert len(decode(splits.train, progress=False)[0]) == len(splits.train)


def test_links_are_followed_once(tmp_path: Path) -> None:
    pool = fill(tmp_path / "pool", "cat", "dog", count=3)
    root = fill(tmp_path / "root", "cow")
    (root / "cat").symlink_to(pool / "cat")
    (root / "dog").mkdir()
    for name, target in {"0.png": "001.png", "1.png": "000.png", "2.png": "000.png"}.items():
        (root / "dog" / name).symlink_to(pool / "dog" / target)
    (pool / "cat" / "again.png").symlink_to("000.png")
    with pytest.warns(UserWarning, match=r"^left out 2 file\(s\): 2 that are links to others$"):
        splits = open_image_folder(root, size=4)
    assert splits.classes == ("cat", "cow", "dog")
    assert sorted(label for part in (splits.train, splits.test) for _, label in part) == [0, 0, 0, 1, 1, 2, 2]


def test_names_of_classes_may_be_composed_or_not(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "été") for form in ("NFC", "NFD"))
    assert composed != apart
    fill(tmp_path / "train", apart, "zoo")
    splits = open_image_folder(fill(tmp_path / "test", composed, "zoo").parent, size=4)
    assert splits.classes == ("zoo", composed) and [label for _, label in splits.test] == [0, 0, 1, 1]


def test_share_held_out_of_each_class(tmp_path: Path) -> None:
    for label, (name, count) in enumerate({"cat": 20, "dog": 10, "train": 2}.items()):
        for index in range(count):  # a class may be called "train"
            save(tmp_path / name / f"{index:03d}.png", Image.new("RGB", (4, 4), (label, index, 0)))

    def held_out(seed: int) -> list[tuple[int, ...]]:
        splits = open_image_folder(tmp_path, size=4, test_fraction=0.2, seed=seed)
        parts = (splits.test, splits.train)
        test, train = ([tuple(image[:, 0, 0].tolist()) for image, _ in part] for part in parts)
        assert not set(test) & set(train) and len(test + train) == 32
        assert [label for _, label in splits.test] == [image[0] for image in test] == [0] * 4 + [1] * 2 + [2]
        assert splits.val is None and splits.chooses.startswith(
            "no val partition: the 20% held out of each class choose"
        )
        return test

    assert held_out(0) == held_out(0) != held_out(1)


def test_what_is_refused(tmp_path: Path) -> None:
    for layout in (
        *("one/cat", "one/.git", "none/.git", "empty/cat", "single/cat", "single/dog", "untested/train/cat"),
        *("untested/train/dog", "differ/train/cat", "differ/train/dog", "differ/val/cow", "differ/val/dog"),
        *("flat/Train", "flat/Test", "parts/first/cat", "parts/first/dog", "parts/second/cat", "parts/second/dog"),
        *("deep/cat", "deep/dog", "deep/dog/more", "twice/train/a", "twice/Training/a", "twice/val/a"),
        *(
            "both/train/a",
            "both/val/a",
            "both/VAL/a",
            "forms/\u00e9",
            "forms/e\u0301",
            "linked/cat",
            "self/cat",
            "self/dog",
        ),
        *(f"vals/{part}/{name}" for part in ("train", "val", "dev") for name in ("cat", "dog")),
        *(f"third/{part}/{name}" for part in ("train", "test", "val") for name in ("cat", "dog")),
        *(
            "third/val/cow",
            "shared/cat",
            "shared/dog",
            "same/train/cat",
            "same/train/dog",
            "left/cat",
            "test only/test/cat",
        ),
    ):
        fill(tmp_path, layout, count=1)
    save(tmp_path / "file.png")
    (tmp_path / "empty" / "dog").mkdir()
    (tmp_path / "left" / "dog").mkdir()
    for name in ("a.heic", "b.heic", "c"):
        (tmp_path / "left" / "dog" / name).touch()
    for link, target in {
        **{"linked/kitten": "cat", "self/dog/again": "..", "shared/dog/1.png": "../cat/000.png", "same/test": "train"},
    }.items():
        (tmp_path / link).symlink_to(target)
    rows = {
        "missing": "root (={}) must exist",
        "file.png": "root (={}) must be a folder",
        "none": "root (={}) must contain a folder of images for each class",
        "one": "root (={}) must contain 2 or more class folders, not only cat",
        "empty": "class folder (={}/dog) must contain 1 or more images, not 0",
        "left": "class folder (={}/dog) must contain 1 or more images, not 0 (left out: 2 .heic, 1 without ending)",
        "single": "class folder (={}/cat) must contain 2 or more images, not 1",
        "untested": "root (={}) must contain one of val, valid, validation, dev, eval, test, testing beside train",
        "differ": "classes of {}/val must be those of train: missing ['cat'], not in train ['cow']",
        "flat": "root (={}) must contain a folder for each class in Train, Test",
        "parts": "class folder (={}/first) must hold images, not folders (cat, dog): move the images up, or call the "
        "parts of the data train and test",
        "deep": "class folder (={}/dog) must hold images, not folders (more): move the images up, or call the "
        "parts of the data train and test",
        "twice": "root (={}) must contain train or Training, not both",
        "both": "root (={}) must contain VAL or val, not both",
        "vals": "root (={}) must contain val or dev, not both",
        "third": "classes of {}/val must be those of train: missing [], not in train ['cow']",
        "forms": "root (={}) must not hold two folders of one name, \u00e9, in two forms of Unicode",
        "linked": "class folder (={0}/kitten) must not be {0}/cat by a link",
        "same": "class folder (={0}/test/cat) must not be {0}/train/cat by a link",
        "self": "class folder (={}/dog) must hold images, not folders (again): move the images up, or call the "
        "parts of the data train and test",
        "shared": "image (={0}/dog/1.png) must not be in {0}/cat too, by a link",
        "test only": "root (={}) must contain 2 or more class folders, not only test",
    }
    said = [(tmp_path / name, f"^{re.escape(message.format(tmp_path / name))}$") for name, message in rows.items()]
    assert_refused(lambda root: open_image_folder(root, size=8), said)
    arguments = [
        ({"size": 0}, r"size \(=0\) must be an integer of at least 1"),
        ({"size": 8, "test_fraction": 1.0}, r"test_fraction \(=1.0\) must be between 0 and 1"),
        ({"size": 8, "seed": -1}, r"seed \(=-1\) must be from 0 to 2\*\*64 - 1"),
    ]
    assert_refused(lambda given: open_image_folder(tmp_path, **given), arguments)


@pytest.mark.parametrize("kind", ["truncated", "no image"])
def test_broken_image_is_named_or_skipped(tmp_path: Path, kind: str) -> None:
    fill(tmp_path, "cat", "dog", count=4)
    broken = tmp_path / "cat" / "999.png"
    break_file(broken)
    if kind == "no image":
        broken.write_bytes(b"hello")
    splits = open_image_folder(tmp_path, size=8)
    message = f"^cannot read image {re.escape(str(broken))}: "
    with pytest.raises(ValueError, match=message):
        for part in (splits.train, splits.test):
            for index in range(len(part)):
                part[index]
    with pytest.raises(ValueError, match=message):
        for part in (splits.train, splits.test):
            decode(part, workers=2, progress=False)
    warning = f"^skipped 1 broken image\\(s\\), the first {re.escape(str(broken))}$"
    with pytest.warns(UserWarning, match=warning):
        splits = open_image_folder(tmp_path, size=8, skip_broken=True)
    assert splits.skipped == (str(broken),)
    assert len(splits.train) + len(splits.test) == 8


def test_class_of_broken_images_only(tmp_path: Path) -> None:
    fill(tmp_path, "cat")
    break_file(tmp_path / "dog" / "0.png")
    message = f"class folder (={tmp_path / 'dog'}) must contain 2 or more images, not 0"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        open_image_folder(tmp_path, size=8, skip_broken=True)


def test_decode_reads_every_item_in_order(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for index in range(600):
        image = Image.new("RGB", (4, 4), (index % 256, index // 256, 0))
        save(tmp_path / "train" / "ab"[index % 2] / f"{index:03d}.png", image)
    fill(tmp_path / "test", "a", "b")
    train = open_image_folder(tmp_path, size=4).train
    images, labels = decode(train, workers=3, progress=True)
    assert (images.dtype, labels.dtype, images.shape) == (torch.uint8, torch.int64, (600, 3, 4, 4))
    for index in range(600):
        image, label = train[index]
        assert torch.equal(images[index], image) and labels[index] == label
    assert capsys.readouterr() == ("", ""), "the progress bar must keep silent where there is no terminal"


def test_decode_arguments(tmp_path: Path) -> None:
    train = open_image_folder(fill(tmp_path, "a", "b"), size=4).train
    with pytest.raises(ValueError, match=r"^workers \(=0\) must be an integer of at least 1$"):
        decode(train, workers=0, progress=False)
    with pytest.raises(ValueError, match=r"^dataset must contain at least one image$"):
        decode(torch.utils.data.Subset(train, []), workers=1, progress=False)


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = f"root (={tmp_path}) must contain the whole folder cifar-10-batches-py: unpack "
    with pytest.raises(ValueError, match=f"^{re.escape(message)}.*download=True"):
        cifar10(tmp_path)
    with pytest.raises(ValueError, match=r"^size \(=0\) must be an integer of at least 1$"):
        cifar10(tmp_path, size=0)

    # A stand-in for the 170 MB: the reading of the real files is torchvision's business.
    def read(self: object, root: Path, train: bool, transform: object) -> None:
        vars(self).update(train=train, transform=transform, target_transform=None, targets=[3, 1])
        vars(self).update(classes=["plane", "car"], data=np.full((2, 32, 32, 3), RED, dtype=np.uint8))

    monkeypatch.setattr("torchvision.datasets.CIFAR10.__init__", read)
    splits = cifar10(tmp_path, size=16)
    assert isinstance(splits, ImageSplits) and splits.classes == ("plane", "car")
    images, labels = decode(splits.train, workers=1, progress=False)
    assert images.shape == (2, 3, 16, 16) and labels.tolist() == [3, 1]
    assert images[0, :, 0, 0].tolist() == list(RED)
