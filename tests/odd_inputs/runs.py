"""Odd files in the folder of a run that is to go on."""

import contextlib
import functools
import io
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from resnest_edu.cli import main
from resnest_edu.training import load_checkpoint
from tests.odd_inputs.odd import Odd, Oddity, Trial, choose, trial

FEW = ["--epochs", "1", "--warmup-epochs", "0", "--batch-size", "4", "--image-size", "16", "--workers", "0"]


def command(*arguments: object) -> tuple[int, str]:
    """Status, and what stands on the error output but warnings."""
    with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
        status = main([str(one) for one in arguments])
    lines = [line for line in errors.getvalue().splitlines() if not line.startswith("warning: ")]
    return status, "\n".join(lines)


@functools.cache
def finished() -> Path:
    """A folder with images, and one with a run on them."""
    root = Path(tempfile.mkdtemp())
    noise = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (root / "images" / name).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
                root / "images" / name / f"{number}.png"
            )
    status, errors = command("--data", root / "images", "--out", root / "run", *FEW)
    assert status == 0, errors
    return root


def rewritten(name: str, *texts: str):
    return lambda rng, folder: (folder / name).write_text(rng.choice(texts))


def edited(name: str, *values: object):
    """One of the values in a JSON file is another."""

    def change(rng: Random, folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        content[rng.choice(sorted(content))] = rng.choice(values)
        (folder / name).write_text(json.dumps(content))

    return change


def cut(*names: str):
    def change(rng: Random, folder: Path) -> None:
        for name in names:
            path = folder / name
            path.write_bytes(path.read_bytes()[: rng.randint(0, path.stat().st_size - 1)])

    return change


def binary(*names: str):
    return lambda rng, folder: [(folder / name).write_bytes(rng.choice([b"", rng.randbytes(300)])) for name in names]


def a_folder(name: str):
    def change(rng: Random, folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


OTHER = ("[]", "null", "7", '"x"', "{}", "{", "", "[" * 100_000, '{"a": NaN}', "\x00", "é" * 9)
VALUES: tuple[object, ...] = ("x", -1, None, [], {}, 1e300, True, 10**30)
ODDITIES = {
    "lost recipe": Oddity(lambda rng, folder: (folder / "recipe.json").unlink(), "recipe"),
    "lost metrics": Oddity(lambda rng, folder: (folder / "metrics.jsonl").unlink()),
    "lost best": Oddity(lambda rng, folder: (folder / "best.safetensors").unlink()),
    "cut last checkpoint": Oddity(cut("checkpoint.pt"), r"checkpoint\.pt|previous\.pt"),
    "other metrics": Oddity(rewritten("metrics.jsonl", *OTHER), "metrics"),
    "damaged best": Oddity(binary("best.safetensors"), "best"),
    "other recipe": Oddity(rewritten("recipe.json", *OTHER), r"recipe\.json", fatal=True),
    "other data": Oddity(rewritten("data.json", *OTHER), r"data\.json", fatal=True),
    "other threads": Oddity(rewritten("run.json", *OTHER), r"run\.json", fatal=True),
    "edited recipe": Oddity(edited("recipe.json", *VALUES), r"recipe\.json|recipe|\(="),
    "edited data": Oddity(edited("data.json", *VALUES), r"data\.json|--data", fatal=True),
    "edited threads": Oddity(edited("run.json", "x", -1, None, [], {}, 1e300, True, 10**30), r"run\.json", fatal=True),
    "letters of another machine": Oddity(
        lambda rng, folder: (folder / "recipe.json").write_bytes((folder / "recipe.json").read_text().encode("utf-16")),
        r"recipe\.json",
        fatal=True,
    ),
    "recipe is a folder": Oddity(a_folder("recipe.json"), r"recipe\.json", fatal=True),
    "data is a folder": Oddity(a_folder("data.json"), r"data\.json", fatal=True),
    "no good checkpoint": Oddity(binary("checkpoint.pt", "previous.pt"), r"checkpoint\.pt|previous\.pt"),
}


def runs(number: int, folder: Path) -> Trial:
    rng = Random(number)
    root, out = finished(), folder / "run"
    shutil.copytree(root / "run", out)
    shutil.copy(out / "checkpoint.pt", out / "previous.pt")
    odd = choose(rng, number, ODDITIES)
    for one in odd.values():
        one.change(rng, out)

    def attempt() -> None:
        status, errors = command("--data", root / "images", "--out", out, "--resume", "--workers", 0)
        if status == 2:
            raise ValueError(errors)
        if status or errors:
            raise Odd(f"status {status}, and on the error output {errors!r}")
        _, recipe, _ = load_checkpoint(out / "checkpoint.pt")
        if json.loads((out / "recipe.json").read_text()) != json.loads(json.dumps(asdict(recipe))):
            raise Odd("recipe.json says something else than the checkpoint")

    return trial(odd, attempt)
