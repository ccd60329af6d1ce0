import json

import numpy as np
import pytest
import torch
from PIL import Image

from resnest_edu.training import RECIPES, load_checkpoint
from resnest_edu.training.__main__ import main

QUICK = ["--epochs", "1", "--warmup-epochs", "0", "--batch-size", "8"]


@pytest.fixture
def folder(tmp_path):
    """Two classes of plain colours, twelve images each."""
    generator = np.random.default_rng(0)
    for label, colour in (("blue", (30, 60, 200)), ("red", (200, 40, 30))):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(12):
            pixels = generator.integers(-20, 20, (20, 24, 3)) + np.array(colour)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "images" / label / f"{i}.png")
    return tmp_path / "images"


def test_a_run_on_an_image_folder(folder, tmp_path, capsys):
    out = tmp_path / "runs" / "colours"
    assert main(["--data", str(folder), "--out", str(out), *QUICK]) == 0
    printed = capsys.readouterr()
    assert "22 training and 2 test images of 2 classes, 1 epoch(s)" in printed.out
    assert f"results in {out}" in printed.out
    assert printed.err == ""  # no progress bar where there is no terminal
    (line,) = (out / "metrics.jsonl").read_text().splitlines()
    metrics = json.loads(line)
    assert metrics["epoch"] == 1
    assert f"test accuracy {100 * metrics['test_accuracy']:.2f} %" in printed.out
    assert json.loads((out / "recipe.json").read_text())["batch_size"] == 8
    model, recipe, classes = load_checkpoint(out / "checkpoint.pt")
    assert (classes, recipe.epochs) == (("blue", "red"), 1)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_an_earlier_run_is_not_overwritten_unasked(folder, tmp_path, capsys):
    arguments = ["--data", str(folder), "--out", str(tmp_path), *QUICK]
    (tmp_path / "checkpoint.pt").write_text("precious")
    assert main(arguments) == 2
    assert "must not hold an earlier run; choose another or add --overwrite" in capsys.readouterr().err
    assert (tmp_path / "checkpoint.pt").read_text() == "precious"
    assert main([*arguments, "--overwrite"]) == 0
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "cakes"], f"recipe (='cakes') must be one of {', '.join(RECIPES)}"),
        (["--epochs", "-1"], "epochs (=-1) must be an integer of at least 1"),
        (["--batch-size", "1"], "batch_size (=1) must be at least 2 for batch norm to train"),
        (["--base-rate", "nan"], "base_rate (=nan) must be a finite number greater than 0"),
        (["--model", "resnest51"], "model (='resnest51') must be one of"),
        (["--image-size", "0"], "image_size (=0) must be an integer of at least 1"),
        (["--image-size", "4"], "size (=4) must be at least 8"),
        (["--seed", "-1"], "--seed (=-1) must be at least 0 and below 2**64"),
        (["--workers", "-1"], "--workers (=-1) must be at least 0"),
        (["--device", "toaster"], "--device (='toaster') must be a device of this machine"),
        (["--data", "no/such/folder"], "root (=no/such/folder) must exist"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message, tmp_path, capsys):
    assert main(["--out", str(tmp_path / "out"), *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out" / "checkpoint.pt").exists()


def test_a_folder_that_cannot_be_written_to(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main(["--out", str(tmp_path / "file" / "out")]) == 2
    printed = capsys.readouterr()
    assert "must be a folder that can be written to: Not a directory" in printed.err
    assert printed.err.count("\n") == 1


def test_a_broken_image_is_named_before_training(folder, tmp_path, capsys):
    (folder / "red" / "3.png").write_bytes(b"\x89PNG not really")
    arguments = ["--data", str(folder), "--out", str(tmp_path / "out"), *QUICK]
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert "3.png" in printed.err
    assert printed.err.count("\n") == 1
    with pytest.warns(UserWarning, match=r"skipped 1 broken image\(s\), the first .*3.png"):
        assert main([*arguments, "--skip-broken"]) == 0
