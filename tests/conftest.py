import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from resnest_edu import PUBLISHED, PublishedFile, create_model
from tests.randomize import randomize


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not tested, and why: one line a reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")


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


@pytest.fixture
def without_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch norms cost no multiply-adds, but on the meta device half of the time in which they are counted."""
    monkeypatch.setattr(nn.BatchNorm2d, "forward", lambda norm, x: x)


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release folder on this machine, with one file, and an empty cache."""
    file = tmp_path / "release" / "weights.pth"
    file.parent.mkdir()
    torch.save(randomize(create_model("resnest11_small"), 1).state_dict(), file)
    file = file.rename(file.with_stem(f"small-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}"))
    monkeypatch.setitem(PUBLISHED, "resnest11_small", PublishedFile(file.name, release=file.parent.as_uri()))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return file
