import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnest_edu.data import cifar10, decode, open_image_folder
from resnest_edu.data.images import ImageSplits

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


def only_image(tmp_path: Path, image: Image.Image, name: str = "a.png", size: int = 8, **options: object) -> np.ndarray:
    save(tmp_path / "train" / "a" / name, image, **options)
    fill(tmp_path / "train", "b")
    fill(tmp_path / "test", "a", "b")
    item, label = open_image_folder(tmp_path, size=size).train[0]
    assert item.dtype == torch.uint8 and item.shape == (3, size, size) and item.is_contiguous() and label == 0
    return item.permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ("image", "name", "expected"),
    [
        (Image.new("RGB", (8, 8), RED), "a.png", RED),
        (Image.new("L", (8, 8), 77), "a.png", (77, 77, 77)),
        (Image.new("1", (8, 8), 1), "a.png", (255, 255, 255)),
        (Image.new("RGB", (8, 8), RED).quantize(4), "a.png", RED),
        (Image.new("RGBA", (8, 8), (*RED, 255)), "a.png", RED),
        (Image.new("RGBA", (8, 8), (*RED, 0)), "a.png", (255, 255, 255)),
        (Image.new("LA", (8, 8), (0, 51)), "a.png", (204, 204, 204)),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "a.tif", (255, 0, 0)),
        (Image.fromarray(np.full((8, 8), 0x8000, dtype=np.uint16)), "a.png", (127, 127, 127)),
    ],
    ids=["RGB", "grey", "bilevel", "palette", "opaque", "transparent", "grey+alpha", "CMYK", "16 bit"],
)
def test_every_mode_becomes_rgb(tmp_path: Path, image: Image.Image, name: str, expected: tuple) -> None:
    pixels = only_image(tmp_path, image, name)
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_exif_rotation_is_undone(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8), "black")
    image.paste("white", (0, 0, 8, 4))  # the upper half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    pixels = only_image(tmp_path, image, exif=exif)
    assert (pixels[:, 4:] == 255).all() and (pixels[:, :4] == 0).all()


@pytest.mark.parametrize("shape", [(40, 20), (20, 40)])
def test_shorter_side_is_resized_and_the_centre_cut_out(tmp_path: Path, shape: tuple[int, int]) -> None:
    image = Image.new("RGB", shape, "black")
    width, height = shape
    image.paste(RED, ((width - 20) // 2, (height - 20) // 2, (width + 20) // 2, (height + 20) // 2))
    pixels = only_image(tmp_path, image, size=10)
    # The filter mixes a little of the neighbourhood into the outermost pixels.
    assert (pixels[1:-1, 1:-1] == RED).all()


def test_split_folders_of_which_a_test_set_is_the_last(tmp_path: Path) -> None:
    fill(tmp_path / "train", "cat", "dog", count=3)
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "1.png").touch()  # flat, so without labels: passed over while others have them
    for count, name in enumerate(("test", "validation", "valid", "val"), 1):  # each goes before those that are there
        fill(tmp_path / name, "cat", "dog", count=count)
        splits = open_image_folder(tmp_path, size=4)
        assert splits.classes == ("cat", "dog") and splits.skipped == ()
        assert [label for _, label in splits.train] == [0, 0, 0, 1, 1, 1]
        assert [label for _, label in splits.test] == [0] * count + [1] * count


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
        return test

    assert held_out(0) == held_out(0) != held_out(1)


def test_folder_errors(tmp_path: Path) -> None:
    fill(tmp_path / "one", "cat")
    (tmp_path / "none").mkdir()
    save(tmp_path / "file.png")
    fill(tmp_path / "empty", "cat").joinpath("dog").mkdir()
    fill(tmp_path / "single", "cat", "dog", count=1)
    fill(tmp_path / "untested" / "train", "cat", "dog")
    fill(tmp_path / "differ" / "train", "cat", "dog")
    fill(tmp_path / "differ" / "val", "cow", "dog")
    for name, message in {
        "missing": "root (={}) must exist",
        "file.png": "root (={}) must be a folder",
        "none": "root (={}) must contain a folder of images for each class",
        "one": "root (={}) must contain 2 or more class folders, not only cat",
        "empty": "class folder (={}/dog) must contain 1 or more images, not 0",
        "single": "class folder (={}/cat) must contain 2 or more images, not 1",
        "untested": "root (={}) must contain one of val, valid, validation, test beside train",
        "differ": "classes of {}/val must be those of train: missing ['cat'], not in train ['cow']",
    }.items():
        with pytest.raises(ValueError, match=f"^{re.escape(message.format(tmp_path / name))}$"):
            open_image_folder(tmp_path / name, size=8)


def test_argument_errors(tmp_path: Path) -> None:
    for arguments, message in (
        ({"size": 0}, "size (=0) must be at least 1"),
        ({"size": 8, "test_fraction": 1.0}, "test_fraction (=1.0) must be between 0 and 1"),
        ({"size": 8, "seed": -1}, "seed (=-1) must be from 0 to 2**64 - 1"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            open_image_folder(tmp_path, **arguments)


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


def test_nothing_is_reported_when_nothing_is_broken(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image_folder(fill(tmp_path, "cat", "dog"), size=8, skip_broken=True).skipped == ()


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
    with pytest.raises(ValueError, match=r"^workers \(=0\) must be at least 1$"):
        decode(train, workers=0, progress=False)
    with pytest.raises(ValueError, match=r"^dataset must contain at least one image$"):
        decode(torch.utils.data.Subset(train, []), workers=1, progress=False)


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = f"root (={tmp_path}) must contain the whole folder cifar-10-batches-py: unpack "
    with pytest.raises(ValueError, match=f"^{re.escape(message)}.*download=True"):
        cifar10(tmp_path)
    with pytest.raises(ValueError, match=r"^size \(=0\) must be at least 1$"):
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
