from pathlib import Path

import pytest
from PIL import Image

from resnest_edu.book.experiments import _cifar10


def write_images(root: Path, suffix: str, classes: tuple[str, ...] = _cifar10.CLASSES) -> Path:
    for split, count in (("train", 2), ("test", 1)):
        for label, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (32, 32), (20 * label, 0, 0)).save(root / split / name / f"{i}.{suffix}")
    return root


@pytest.mark.parametrize(
    ("suffix", "name"),
    [("png", "CIFAR-10"), ("jpg", "CIFAR-10, JPEG copy"), ("JPEG", "CIFAR-10, JPEG copy")],
)
def test_a_copy_is_named_as_one(tmp_path, monkeypatch, suffix, name):
    write_images(tmp_path, suffix)
    assert _cifar10.name(tmp_path) == f"{name}, 20 training and 10 test images of it"
    monkeypatch.setattr(_cifar10, "COUNTS", (20, 10))
    assert _cifar10.name(tmp_path) == name


def test_the_original(tmp_path, monkeypatch):
    calls = []

    class Splits:
        train, test = range(50_000), range(10_000)

    monkeypatch.setattr(_cifar10, "cifar10", lambda folder: calls.append(folder) or Splits)
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert _cifar10.name(tmp_path) == "CIFAR-10"
    assert calls == [tmp_path]


def test_other_images_are_refused(tmp_path):
    write_images(tmp_path / "pets", "png", ("cat", "dog"))
    with pytest.raises(ValueError, match=r"--data \(=.*pets'\) must hold train and test with the classes airplane, "):
        _cifar10.name(tmp_path / "pets")
    write_images(tmp_path / "whole", "png")
    with pytest.raises(ValueError, match="must hold train and test"):
        _cifar10.name(tmp_path / "whole" / "train")
