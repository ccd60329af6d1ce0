from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def colour_folder(tmp_path: Path) -> Path:
    """Two classes of plain colours, twelve images each."""
    generator = np.random.default_rng(0)
    for label, colour in (("blue", (30, 60, 200)), ("red", (200, 40, 30))):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(12):
            pixels = generator.integers(-20, 20, (20, 24, 3)) + np.array(colour)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "images" / label / f"{i}.png")
    return tmp_path / "images"
