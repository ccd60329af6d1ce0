from pathlib import Path
from types import SimpleNamespace

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


def test_a_copy_is_named_as_one_and_the_original_as_itself(tmp_path, monkeypatch):
    for suffix, name in [("png", "CIFAR-10"), ("jpg", "CIFAR-10, JPEG copy"), ("JPEG", "CIFAR-10, JPEG copy")]:
        write_images(tmp_path / suffix, suffix)
        assert _cifar10.name(tmp_path / suffix) == f"{name}, 20 training and 10 test images of it"
        with monkeypatch.context() as whole:
            whole.setattr(_cifar10, "COUNTS", (20, 10))
            assert _cifar10.name(tmp_path / suffix) == name
    calls, splits = [], SimpleNamespace(train=range(50_000), test=range(10_000))
    monkeypatch.setattr(_cifar10, "cifar10", lambda folder: calls.append(folder) or splits)
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert _cifar10.name(tmp_path) == "CIFAR-10" and calls == [tmp_path]


def test_other_images_are_refused(tmp_path):
    write_images(tmp_path / "pets", "png", ("cat", "dog"))
    with pytest.raises(ValueError, match=r"--data \(=.*pets'\) must hold train and test with the classes airplane, "):
        _cifar10.name(tmp_path / "pets")
    write_images(tmp_path / "whole", "png")
    with pytest.raises(ValueError, match="must hold train and test"):
        _cifar10.name(tmp_path / "whole" / "train")
