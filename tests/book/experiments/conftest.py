from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnest_edu.book.experiments._cifar10 import CLASSES


@pytest.fixture(scope="session")
def tiny_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain colours under the names of CIFAR-10's classes, as JPEG files: 30 for training, 20 for the test."""
    root = tmp_path_factory.mktemp("cifar10")
    generator = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        colour = np.array((25 * label, 250 - 25 * label, 10))
        for split, count in (("train", 3), ("test", 2)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = (colour + generator.integers(-20, 20, (32, 32, 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.jpg")
    return root
