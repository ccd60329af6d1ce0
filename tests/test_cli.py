"""The command line: what it trains, what it leaves, and that whatever fails is one line."""

import errno
import json
import os
import pkgutil
import re
import shutil
import signal
import sys
import tomllib
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

import resnest_edu
from resnest_edu import cli
from resnest_edu.cli import main
from resnest_edu.network.weights import read_header
from resnest_edu.training import RECIPES, load_checkpoint, save_checkpoint
from resnest_edu.training.loop import Run
from resnest_edu.transfer import DetectionRecipe, SegmentationRecipe
from tests.transfer.annotated_folders import edit_coco, write_coco, write_voc
from tests.transfer.tiny_recipes import DETECTION, SEGMENTATION

QUICK = ["--epochs", "1", "--warmup-epochs", "0", "--batch-size", "8", "--device", "cpu"]


@contextmanager
def threads_of_this_process(number: int):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def error_of(capsys):
    """What a command says that fails as it must: in one line."""

    def error_of(*arguments: object) -> str:
        capsys.readouterr()
        try:
            assert main([str(one) for one in arguments]) == 2, arguments
        except SystemExit as end:
            assert end.code == 2
        printed = capsys.readouterr().err
        assert printed.startswith("error: ") and printed.count("\n") == 1, printed
        return printed.removeprefix("error: ").rstrip()

    return error_of


def settings(out: Path, name: str = "recipe.json") -> dict:
    return json.loads((out / name).read_text())


def epochs(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_run_on_an_image_folder(colour_folder, tmp_path, capsys):
    out = tmp_path / "runs" / "colours"
    assert main(["--data", str(colour_folder), "--out", str(out), *QUICK]) == 0
    printed = capsys.readouterr()
    assert "22 training and 2 test images of 2 classes, 32 pixels, 1 epoch(s)" in printed.out
    assert (
        "\nno val partition: the 10% held out of each class choose the best epoch, so its score is not" in printed.out
    )
    assert f"results in {out}" in printed.out
    assert printed.err == ""  # no progress bar where there is no terminal
    [metrics] = epochs(out)
    assert metrics["epoch"] == 1 and f"test accuracy {100 * metrics['test_accuracy']:.2f} %" in printed.out
    assert settings(out)["batch_size"] == 8
    model, recipe, classes = load_checkpoint(out / "checkpoint.pt")
    assert (classes, recipe.epochs) == (("blue", "red"), 1)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_what_ran_but_is_hardly_meant_is_a_warning(colour_folder, tmp_path, capsys, monkeypatch):
    train = cli.train
    arguments = ["--recipe", "finetune", "--model", "resnest11_small", "--image-size", "32", "--crop", "0", *QUICK]
    for loss, warned in (
        (1.0, ["begins with fresh weights"]),
        (50.0, ["begins with fresh weights", "rate may be too high"]),
    ):
        trained = partial(lambda loss, *rest, **more: [replace(m, train_loss=loss) for m in train(*rest, **more)], loss)
        monkeypatch.setattr(cli, "train", trained)
        assert main([*arguments, "--data", str(colour_folder), "--out", str(tmp_path / "out"), "--overwrite"]) == 0
        lines = capsys.readouterr().err.splitlines()
        assert all(line.startswith("warning: ") and part in line for line, part in zip(lines, warned, strict=True))


def test_three_partitions(colour_folder, tmp_path, capsys, error_of, monkeypatch):
    """A terminal shows a line an epoch; the run goes on after Ctrl-C, and is then asked again."""
    root, out = tmp_path / "parts", tmp_path / "out"
    for path in colour_folder.glob("*/*.png"):
        part = root / ("train", "val", "test", "train")[int(path.stem) % 4] / path.parent.name
        part.mkdir(parents=True, exist_ok=True)
        path.rename(part / path.name)
    arguments = ["--data", str(root), "--out", str(out), "--device", "cpu", "--workers", "0", "--resume"]
    numbers = ["--epochs", "3", "--warmup-epochs", "0", "--batch-size", "6", "--accumulate", "2"]
    with monkeypatch.context() as patch:
        fail_in_step(patch, 3, KeyboardInterrupt())
        assert main([*arguments, *numbers, "--precision", "bfloat16"]) == 130
    for lines in (2, 0):
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys.stderr, "isatty", lambda: True)
            assert main(arguments) == 0
        printed, rows = capsys.readouterr().out, epochs(out)
        [best] = [row for row in rows if row["test_accuracy"] is not None]
        assert "12 training, 6 val and 6 test images of 2 classes" in printed
        assert "\nthe val images choose the best epoch, whose network is measured on the test" in printed
        assert len(re.findall(r"^epoch \d/3: loss \d.\d+, val accuracy \d+.\d+ %, ", printed, re.MULTILINE)) == lines
        said = f"val accuracy {100 * best['val_accuracy']:.2f} %, test accuracy {100 * best['test_accuracy']:.2f} %"
        assert f"\n{said} in epoch {best['epoch']}, after" in printed
        assert best["val_accuracy"] == max(row["val_accuracy"] for row in rows) and len(rows) == 3
        header = read_header(out / "best.safetensors")["score"]
        assert header == {name: best[name] for name in ("val_accuracy", "epoch", "test_accuracy")}
    assert settings(out)["precision"] == "bfloat16" and settings(out)["accumulate"] == 2
    shutil.rmtree(root / "val")
    assert error_of(*arguments).startswith("--data (=")


def test_an_earlier_run_is_not_overwritten_unasked(colour_folder, tmp_path, error_of):
    arguments = ["--data", str(colour_folder), "--out", str(tmp_path), *QUICK]
    (tmp_path / "checkpoint.pt").write_text("precious")
    message = "must not hold an earlier run; choose another, go on with it by --resume, or --overwrite it"
    assert message in error_of(*arguments)
    assert (tmp_path / "checkpoint.pt").read_text() == "precious"
    assert main([*arguments, "--overwrite"]) == 0
    assert len(epochs(tmp_path)) == 1


def test_bad_input_is_one_clear_line(colour_folder, tmp_path, error_of):
    (tmp_path / "file").write_text("in the way")
    rows = [
        (["--recipe", "cakes"], f"recipe (='cakes') must be one of {', '.join(cli.ALL_RECIPES)}"),
        (["--precision", "half"], "precision (='half') must be one of auto, float32, bfloat16, float16"),
        (["--accumulate", "0"], "accumulate (=0) must be an integer of at least 1"),
        (["--batch-size", "8", "--accumulate", "5"], "accumulate (=5) must be at most half of batch_size (=8)"),
        (["--mixup", "-1"], "mixup (=-1.0) must be a finite number at least 0"),
        (["--lr", "-1"], "--lr (=-1.0) must be a finite number greater than 0"),
        (["--lr", "0.1", "--base-rate", "1"], "--lr (=0.1) must not be given with --base-rate"),
        (["--lr", "0.1", "--batch-size", "0"], "batch_size (=0) must be an integer of at least 1"),
        (["--epochs", "x"], "argument --epochs: invalid int value: 'x'"),
        (["--atrous-rates", "1,x"], "argument --atrous-rates: invalid whole_numbers value: '1,x'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--recipe", "detect"], "--weights (=None) must be given: the recipe freezes them (norm='frozen', frozen_st"),
        (["--policy", "magic"], "policy (='magic') must be one of none, autoaugment, randaugment"),
        (["--detector", "mask"], "--detector must not be given for classification"),
        (["--epochs", "-1"], "epochs (=-1) must be an integer of at least 1"),
        (["--batch-size", "1"], "batch_size (=1) must be at least 2 for batch norm to train"),
        (["--base-rate", "nan"], "base_rate (=nan) must be a finite number greater than 0"),
        (["--model", "resnest51"], "model (='resnest51') must be one of"),
        (["--image-size", "4"], "size (=4) must be at least 8"),
        (["--seed", "-1"], "--seed (=-1) must be at least 0 and below 2**64"),
        (["--workers", "-1"], "--workers (=-1) must be at least 0"),
        (["--threads", "0"], "--threads (=0) must be from 1 to 1024"),
        (["--threads", "99999999999"], "--threads (=99999999999) must be from 1 to 1024"),
        (["--device", "toaster"], "--device (='toaster') must be a device of this machine"),
        (["--data", "no/such/folder"], "--data: root (=no/such/folder) must exist"),
        (["--recipe", "imagenet-resnest50"], "--data (=None) must be a folder of images for a recipe that crops"),
        (["--save-minutes", "-1"], "--save-minutes (=-1.0) must be at least 0"),
        (["--sync-bn", "--device", "cpu"], "--sync-bn needs CUDA, not --device (='cpu')"),
        (["--overwrite", "--resume"], "--overwrite must not be given with --resume"),
        (["--data", str(tmp_path)], f"--out (='{tmp_path}/out') must not lie inside --data"),
        (["--out", f"{tmp_path}/file/out"], f"--out: folder (='{tmp_path}/file/out') must be one that can be written"),
    ]
    for arguments, message in rows:
        assert error_of("--out", tmp_path / "out", *arguments).startswith(message), arguments
        assert not (tmp_path / "out").exists()
    assert error_of("--recipe", "shapes") == "--out (=None) must be a folder for the results"


@pytest.mark.parametrize("more", [["--workers", "2"], ["--workers", "0"], ["--workers", "1", "--crop", "0.5"]])
def test_a_broken_image_is_named_with_what_helps(more, colour_folder, tmp_path, error_of, capsys):
    (colour_folder / "red" / "3.png").write_bytes(b"\x89PNG not really")
    arguments = ["--data", str(colour_folder), "--out", str(tmp_path / "out"), *QUICK, *more]
    message = r"(--data: )?cannot read image .*3.png: .*; --skip-broken leaves such files out"
    assert re.fullmatch(message, error_of(*arguments))
    assert main([*arguments, "--skip-broken", "--overwrite"]) == 0
    skipped = r"^warning: skipped 1 broken image\(s\), the first .*3.png$"
    assert re.search(skipped, capsys.readouterr().err, re.MULTILINE)


def fail_in_step(monkeypatch, number: int, error: BaseException | None = None) -> None:
    step = Run.take_step

    def failing(self, *rest):
        if self.step == number:
            if error is None:
                torch.empty(2**55, dtype=torch.uint8)
            else:
                raise error
        step(self, *rest)

    monkeypatch.setattr(Run, "take_step", failing)


MEMORY = "out of memory at a batch of 8, 32 pixels: lower --batch-size or --image-size"
LAST = "the last good checkpoint is checkpoint.pt at step 1"
FAILURES = {
    "CUDA": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore"), MEMORY, LAST),
    "CPU": (None, MEMORY, LAST),
    "cuBLAS": (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), MEMORY, LAST),
    "NumPy": (MemoryError("Unable to allocate 8.00 GiB for an array"), MEMORY, "or another --out, begins anew"),
    "fork": (OSError(errno.ENOMEM, "Cannot allocate memory"), MEMORY, "--workers"),
    "killed": (RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed. "), "a process that", "--workers"),
    "exited": (RuntimeError("DataLoader worker (pid(s) 5) exited unexpectedly"), "a process that reads", "--workers"),
    "process": (RuntimeError("[pair.cc:5] Connection closed by peer [::1]:5"), "another process of the run", LAST),
    "PyTorch": (RuntimeError("mat1 and mat2\nException raised"), "RuntimeError: mat1 and mat2 (", "--traceback"),
    "path": (ValueError("cannot read image allocate.png"), "cannot read image allocate.png; --skip-broken", ""),
    "ours": (KeyError("size"), "KeyError: 'size' (--traceback shows where)", ""),
    "assertion": (AssertionError(), "AssertionError", "--traceback"),
    "disk": (OSError(errno.ENOSPC, "No space left", "a.pt"), "[Errno 28] No space left: 'a.pt'", ""),
    "NaN": (FloatingPointError("the loss is nan"), "the loss is nan; --overwrite, or another --out, begins anew", ""),
}


def test_whatever_fails_is_one_line_with_what_helps(colour_folder, tmp_path, error_of, monkeypatch, capsys):
    for name, (error, begins, holds) in FAILURES.items():
        arguments = ["--data", colour_folder, "--out", tmp_path / name, "--save-minutes", "0", "--workers", "0", *QUICK]
        with monkeypatch.context() as patch:
            fail_in_step(patch, 1, error)
            line = error_of(*arguments)
            assert line.startswith(begins) and holds in line, name
    with monkeypatch.context() as patch:
        fail_in_step(patch, 0, KeyError("size"))
        assert main([*map(str, arguments), "--overwrite", "--traceback"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback (most" in shown and "in failing" in shown
    assert shown.endswith("error: KeyError: 'size' (--traceback shows where)\n")
    assert "there is no checkpoint yet" in cli.Known().last_good


@pytest.mark.slow
def test_a_reader_that_is_killed(colour_folder, tmp_path, error_of, monkeypatch):
    opened = Image.open

    def deadly(*given, **more):
        if torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return opened(*given, **more)

    monkeypatch.setattr(Image, "open", deadly)
    line = error_of("--data", colour_folder, "--out", tmp_path, *QUICK, "--crop", "0.5", "--workers", "1")
    assert line.startswith("a process that reads images was lost") and "lower --workers" in line


def test_a_recipe_explains_itself_with_the_numbers_that_are_used(capsys):
    given = ["--batch-size", "256", "--mixup", "0.4", "--no-flip", "--smoothing", "all"]
    assert main(["--recipe", "imagenet-resnest50", *given, "--explain"]) == 0
    about, replaced, numbers, rate = capsys.readouterr().out.rsplit("\n\n", 3)
    assert about == cli.ABOUT["imagenet-resnest50"] and ">>>" not in about and "8192" not in about
    assert replaced == "Other than the recipe: batch_size, flip, smoothing, mixup."
    expected = replace(RECIPES["imagenet-resnest50"], batch_size=256, mixup=0.4, flip=False, smoothing="all")
    assert json.loads(numbers) == asdict(expected)
    assert rate == "Learning rate at its peak: 0.1\n"


def test_the_peak_rate_can_be_given_itself():
    """In a run that goes on too, to the last bit."""
    for name in ("shapes", "cifar10", "detect", "segment-shapes"):
        arguments = cli.build_parser().parse_args(["--recipe", name, "--lr", "0.003", "--batch-size", "12"])
        recipe = cli.choose_recipe(arguments)
        assert recipe.peak_rate == pytest.approx(0.003) and recipe.batch_size == 12
        assert recipe == replace(cli.ALL_RECIPES[name], base_rate=recipe.base_rate, batch_size=12)


def test_what_the_command_says_of_itself(capsys, monkeypatch):
    assert main(["--list-models"]) == 0
    assert capsys.readouterr().out.split() == resnest_edu.list_models()
    assert main(["--list-recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(cli.ABOUT) and "Command" not in str(lines)
    for option, text in (("--version", f"resnest-edu {resnest_edu.__version__}\n"), ("--help", None)):
        monkeypatch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit):
            main(["--recipe", "segment", option])
        printed = capsys.readouterr().out
        assert printed == (text or printed) and max(map(len, printed.splitlines())) <= 80
    assert "numbers of the recipe, by default segment's:" in printed and "pixels (default: 480)" in printed
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert pkgutil.resolve_name(project["scripts"]["resnest-edu"]) is main
    for typed, shown in (("/bin/resnest-edu", "resnest-edu"), ("cli.py", "python -m resnest_edu.training")):
        monkeypatch.setattr(sys, "argv", [typed])
        assert cli.build_parser().prog == shown


def test_every_number_of_every_recipe_has_an_option_that_says_what_it_is():
    text = " ".join(cli.build_parser().format_help().split())
    for recipe in (*RECIPES.values(), DETECTION, SEGMENTATION):
        numbers = {name: value for name, value in asdict(recipe).items() if name != "task"}
        given = []
        for name, value in numbers.items():
            option = "--" + name.replace("_", "-")
            assert option in text
            if isinstance(value, bool):
                given += [option if value else f"--no-{name}"]
            else:
                given += [option, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
        kind = {"classification": "cifar10", "detection": "detect-shapes", "segmentation": "segment-shapes"}[
            recipe.task
        ]
        assert cli.choose_recipe(cli.build_parser().parse_args(["--recipe", kind, *given])) == recipe
        assert cli.described(type(recipe)).keys() >= numbers.keys()


def test_damaged_settings_of_a_run_are_one_clear_line(colour_folder, tmp_path, error_of):
    arguments = ["--data", str(colour_folder), "--out", str(tmp_path), "--device", "cpu", "--resume"]
    assert main([*arguments, *QUICK]) == 0
    recipe, data = (json.loads((tmp_path / name).read_text()) for name in ("recipe.json", "data.json"))
    rows = [
        ("recipe.json", "{}", "'task' is missing"),
        ("recipe.json", "[1]", "it holds a list"),
        ("recipe.json", json.dumps(recipe)[:-2], "Expecting ',' delimiter"),
        ("recipe.json", "\ufffe", "Expecting value"),
        ("recipe.json", "[" * 100_000, "recursion"),
        ("recipe.json", json.dumps(recipe | {"momentun": 1}), "unexpected keyword argument 'momentun'"),
        ("recipe.json", json.dumps({k: v for k, v in recipe.items() if k != "epochs"}), "'epochs'"),
        ("recipe.json", json.dumps(recipe | {"epochs": "3"}), "epochs (='3') must be an integer"),
        ("recipe.json", json.dumps(recipe | {"task": []}), "task (=[]) must be one of"),
        ("data.json", "{}", "'training' is missing"),
        ("data.json", json.dumps({k: v for k, v in data.items() if k != "digest"}), "'digest' is missing"),
        ("data.json", "null", "it holds a NoneType"),
        ("data.json", "", "Expecting value"),
        ("data.json", json.dumps(data | {"training": "many"}), "Cannot specify ',' with 's'"),
    ]
    for name, content, message in rows:
        whole = (tmp_path / name).read_text()
        (tmp_path / name).write_text(content)
        line = error_of(*arguments)
        assert line.startswith(f"{tmp_path / name} must be as a run of this version left it: "), line
        assert message in line
        (tmp_path / name).write_text(whole)
    assert main(arguments) == 0


def test_what_a_folder_says_is_what_the_run_did(colour_folder, tmp_path, error_of, monkeypatch):
    """Whatever died there before its first checkpoint, and whatever was refused."""
    arguments = ["--data", colour_folder, "--out", tmp_path, "--device", "cpu", "--workers", "0", "--resume"]
    arguments += ["--warmup-epochs", "0", "--batch-size", "8"]
    with monkeypatch.context() as patch:
        fail_in_step(patch, 0, FloatingPointError("the training loss is nan"))
        error_of(*arguments, "--base-rate", "1e9", "--epochs", "2", "--threads", "2")
    (colour_folder / "red" / "3.png").unlink()
    wanted = [str(one) for one in [*arguments, "--base-rate", "0.5", "--epochs", "1", "--threads", "1"]]
    assert main(wanted) == 0
    recipe = load_checkpoint(tmp_path / "checkpoint.pt")[1]
    assert settings(tmp_path) == asdict(recipe) and (recipe.base_rate, recipe.epochs) == (0.5, 1)
    assert settings(tmp_path, "data.json")["training"] == 21 and settings(tmp_path, "run.json") == {"threads": 1}
    assert main(wanted[: wanted.index("--warmup-epochs")]) == 0  # the rest is known from the run
    for name in ("recipe.json", "run.json"):
        (tmp_path / name).unlink()
    assert "recipe.json must be as the run left it, and is missing" in error_of(*wanted)
    other = ["--recipe", "shapes", "--base-rate", "7", "--threads", "3"]
    assert "base_rate (=7.0) must be 0.5" in error_of(*wanted, *other)
    assert not (tmp_path / "recipe.json").exists() and not (tmp_path / "run.json").exists()


def test_an_interrupted_run_goes_on_by_the_same_command(colour_folder, tmp_path, error_of, capsys, monkeypatch):
    arguments = ["--data", str(colour_folder), "--resume", "--epochs", "3", "--warmup-epochs", "0", "--batch-size", "8"]
    assert main([*arguments, "--out", str(tmp_path / "undisturbed")]) == 0
    step = Run.take_step

    def press_ctrl_c(self, *rest):
        if self.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, *rest)

    out = tmp_path / "disturbed"
    with monkeypatch.context() as patch:
        patch.setattr(Run, "take_step", press_ctrl_c)
        assert main([*arguments, "--out", str(out)]) == 130
    assert "interrupted after step 5 of 9; the last good one is checkpoint.pt at step 5" in capsys.readouterr().err
    assert "base_rate (=1.0) must be 3.0, as in the run" in error_of(*arguments, "--out", out, "--base-rate", "1")
    assert settings(out)["base_rate"] == 3.0
    assert main(["--data", str(colour_folder), "--resume", "--out", str(out)]) == 0  # the rest is known from the run
    assert f"going on from checkpoint.pt at step 5 in {out}, after 1 epoch(s)" in capsys.readouterr().out
    models = [load_checkpoint(folder / "checkpoint.pt")[0] for folder in (tmp_path / "undisturbed", out)]
    for one, two in zip(*(model.state_dict().values() for model in models), strict=True):
        assert one.equal(two)
    assert len(epochs(out)) == 3


def test_small_images_are_trained_by_one_thread_unless_asked(colour_folder, tmp_path, capsys, monkeypatch):
    trained = []

    def look(*arguments, **more):
        trained.append(torch.get_num_threads())
        raise KeyboardInterrupt

    def threads(*arguments: str, out: str = "out") -> int:
        assert main(["--data", str(colour_folder), "--out", str(tmp_path / out), "--device", "cpu", *arguments]) == 130
        assert torch.get_num_threads() == before  # of whoever calls
        assert f"on cpu in {trained[-1]} thread(s): 22 training" in capsys.readouterr().out
        return trained[-1]

    monkeypatch.setattr(Run, "take_step", look)
    before = 3
    with threads_of_this_process(before):
        assert threads() == 1
        assert threads("--image-size", "65", out="large") == before
        assert threads("--threads", "2", out="asked") == 2
        assert settings(tmp_path / "asked", "run.json") == {"threads": 2}
        assert threads("--resume", out="asked") == 2  # as before: the last digits depend on it
        assert threads("--resume") == 1
        assert threads("--overwrite", out="asked") == 1


def test_a_run_goes_on_with_its_threads_unless_others_are_given(colour_folder, tmp_path, error_of):
    arguments = ["--data", str(colour_folder), "--out", str(tmp_path), "--resume", *QUICK]
    note = tmp_path / "run.json"
    for threads in ("2", "3"):
        assert main([*arguments, "--threads", threads]) == 0
        error_of(*arguments, "--threads", "4", "--base-rate", "7")  # refused: another run
        assert json.loads(note.read_text()) == {"threads": int(threads)}
    for damaged in ("{", "[]", "{}", '{"threads": 1.5}', '{"threads": 0}'):
        note.write_text(damaged)
        message = f"{note} must say how many threads the run has: remove it, or give --threads"
        assert error_of(*arguments) == message
    note.unlink()  # as in a run that is older than the file
    assert main(arguments) == 0
    assert json.loads(note.read_text()) == {"threads": 1}


def test_a_run_is_not_resumed_on_other_images(colour_folder, tmp_path, error_of, capsys):
    arguments = ["--data", str(colour_folder), "--out", str(tmp_path / "out"), "--resume", *QUICK]
    assert main(arguments) == 0
    assert f"nothing to go on from in {tmp_path / 'out'}: beginning" in capsys.readouterr().out
    (colour_folder / "red" / "3.png").write_bytes((colour_folder / "blue" / "3.png").read_bytes())
    began = "--data .* must hold the images .* began with, 22 for training and 2 for the test; .* contents"
    assert re.fullmatch(began, error_of(*arguments))


def test_a_damaged_checkpoint_is_a_warning_of_one_line(colour_folder, tmp_path, capsys):
    arguments = ["--data", str(colour_folder), "--out", str(tmp_path / "out"), "--resume", *QUICK, "--epochs", "2"]
    assert main(arguments) == 0
    (tmp_path / "out" / "checkpoint.pt").write_bytes(b"rubbish")
    capsys.readouterr()
    assert main(arguments) == 0
    printed = capsys.readouterr().err
    assert printed.startswith("warning: checkpoint.pt cannot be read (it is damaged") and printed.count("\n") == 1


# Detection and segmentation.

KINDS = {"detect-shapes": DetectionRecipe, "segment-shapes": SegmentationRecipe}


@pytest.fixture
def tiny(monkeypatch):
    """The recipes' own names, and much smaller numbers."""
    tiny_ones = {"detect-shapes": DETECTION, "segment-shapes": SEGMENTATION}
    monkeypatch.setattr(cli, "ALL_RECIPES", cli.ALL_RECIPES | tiny_ones)
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A checkpoint of training whose first layer can be told."""
    recipe, path = replace(RECIPES["shapes"], model="resnest11_small"), tmp_path_factory.mktemp("classifier") / "a.pt"
    model = recipe.build(3)
    torch.nn.init.constant_(model.conv1[0].weight, 0.125)
    save_checkpoint(path, model, recipe, ("a", "b", "c"))
    return path


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    root = tmp_path_factory.mktemp("annotated")
    boxes = write_coco(root / "boxes")
    for split in ("train", "val"):
        edit_coco(boxes, lambda content: [one.pop("segmentation") for one in content["annotations"]], split)
    return {"COCO": write_coco(root / "coco"), "VOC": write_voc(root / "voc"), "BOXES": boxes}


@pytest.mark.parametrize(
    ("recipe", "title", "score"),
    [("detect-shapes", "box mAP", "box_map"), ("segment-shapes", "mean IoU", "mean_iou")],
)
def test_a_run_on_scenes(recipe, title, score, tiny, classifier, tmp_path, capsys, monkeypatch):
    started, begin = [], Run.__init__

    def look(self, model, *rest):
        started.append(next(model.parameters()).detach().clone())
        begin(self, model, *rest)

    monkeypatch.setattr(Run, "__init__", look)
    arguments = ["--out", str(tmp_path), "--device", "cpu", "--workers", "0"]
    given = ["--recipe", recipe, "--epochs", "1", "--weights", str(classifier)]
    assert main([*arguments, *given]) == 0
    printed = capsys.readouterr()
    classes = 8 if recipe == "detect-shapes" else 9
    assert f"16 training and 6 test images of {classes} classes, 64 pixels, 1 epoch(s)" in printed.out
    [line] = epochs(tmp_path)
    assert f"{title} {100 * line[score]:.2f} %" in printed.out
    assert printed.err == ""
    assert (started[0] == 0.125).all()  # the weights of the classifier
    loaded = load_checkpoint(tmp_path / "checkpoint.pt", KINDS[recipe])[1]
    assert (loaded.epochs, loaded.batch_size) == (1, 8)
    assert json.loads((tmp_path / "recipe.json").read_text())["epochs"] == 1
    # Without --recipe the kind of recipe is known from the run, and so is all of it.
    assert main([*arguments, "--resume"]) == 0
    assert "going on from checkpoint.pt at step 2" in capsys.readouterr().out
    assert epochs(tmp_path) == [line]
    for other, message in (
        (["--seed", "1"], "must hold the images that the run in .* began with, 16 for training and 6 for the test"),
        (["--batch-size", "4"], r"batch_size \(=4\) must be 8, as in the run that"),
    ):
        assert main([*arguments, "--resume", *other]) == 2
        assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_classifier_begins_with_anothers_weights_and_keeps_the_head_of_the_same_classes(
    suffix, colour_folder, tmp_path, capsys, monkeypatch
):
    started, given = {}, RECIPES["shapes"].build(2)
    monkeypatch.setattr(cli, "train", lambda model, *rest, **more: started.update(model.state_dict()) or 1 / 0)
    torch.nn.init.constant_(given.conv1[0].weight, 0.125)
    file, out = tmp_path / f"earlier.{suffix}", tmp_path / "out"
    arguments = ["--data", str(colour_folder), "--out", str(out), "--overwrite", "--device", "cpu", "--workers", "0"]
    kept, left = "with its head, for it is of the same 2 classes", "without its head, for it is not of the same classes"
    for classes, order, said in (
        (("blue", "red"), [0, 1], kept),
        (("red", "blue"), [1, 0], kept),
        (("a", "b"), 0, left),
    ):
        save_checkpoint(file, given, RECIPES["shapes"], classes)
        assert main([*arguments, "--weights", str(file)]) == 2  # ends where it would train
        assert f"{file}: {said}\n" in capsys.readouterr().out
        assert (started["conv1.0.weight"] == 0.125).all() and len(started["fc.weight"]) == 2
        for name, tensor in given.fc.state_dict().items():
            assert started[f"fc.{name}"].equal(tensor[order]) == (said == kept)


def test_a_finished_run_is_given_more_epochs(colour_folder, tmp_path, capsys):
    arguments = ["--data", str(colour_folder), "--out", str(tmp_path), *QUICK, "--resume", "--epochs"]
    assert main([*arguments, "2"]) == main([*arguments, "4"]) == 0
    assert "4 epochs in place of 2: the rate rises to what the longer schedule has" in capsys.readouterr().out
    first, second, third, last = [line["learning_rate"] for line in epochs(tmp_path)]
    assert first > second < third > last  # the shorter schedule fell to zero
    assert settings(tmp_path)["epochs"] == 4 and main([*arguments, "2"]) == 2
    assert "epochs (=2) must be at least 4, as in the run that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("COCO", ["detect-shapes", "--detector", "cascade_mask"]),
        ("BOXES", ["detect-shapes", "--detector", "faster"]),
        ("VOC", ["detect-shapes", "--detector", "cascade"]),
        ("COCO", ["segment-shapes"]),
        ("VOC", ["segment-shapes"]),
    ],
)
def test_a_run_on_an_annotated_folder(name, recipe, tiny, annotated, tmp_path, capsys):
    arguments = ["--recipe", *recipe, "--data", str(annotated[name]), "--out", str(tmp_path), "--device", "cpu"]
    assert main([*arguments, "--epochs", "1", "--batch-size", "4", "--accumulate", "2", "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "4 training and 3 test images" in printed and "64 pixels" in printed
    assert len(epochs(tmp_path)) == 1


def test_a_run_is_not_resumed_on_other_annotations(tiny, tmp_path, capsys):
    root = write_coco(tmp_path / "coco")
    arguments = ["--recipe", "detect-shapes", "--data", str(root), "--out", str(tmp_path / "out"), "--resume"]
    arguments += ["--epochs", "1", "--batch-size", "4", "--device", "cpu", "--workers", "0"]
    assert main(arguments) == 0
    edit_coco(root, lambda content: content["annotations"][0]["bbox"].__setitem__(0, 1))
    assert main(arguments) == 2
    assert "4 for training and 3 for the test; they are 4 and 3 now, or have other names" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "detect-shapes", "--compile"], "--compile must not be given for detection"),
        (["--recipe", "segment-shapes", "--compile"], "--compile must not be given for segmentation"),
        (["--recipe", "detect-shapes", "--skip-broken"], "--skip-broken must not be given for detection"),
        (["--recipe", "shapes", "--weights", "some.pt"], "weights (='some.pt') must be a file, or the name"),
        (["--recipe", "detect-shapes", "--weights", "no/such.pt"], "weights (='no/such.pt') must be a file"),
        (
            ["--recipe", "segment-shapes", "--model", "resnest14", "--weights", "CLASSIFIER"],
            "must be those of resnest14; they are of resnest11_small",
        ),
        (["--recipe", "detect-shapes", "--data", "EMPTY"], "must contain annotations/instances_train*.json (COCO) or"),
        (["--recipe", "segment-shapes", "--data", "EMPTY"], "must contain annotations/instances_train*.json (COCO) or"),
        (["--recipe", "detect-shapes", "--detector", "mask", "--data", "VOC"], "boxes alone, which --detector faster"),
        (["--recipe", "detect-shapes", "--detector", "mask", "--data", "BOXES"], "a segmentation; --detector faster"),
        (["--recipe", "segment-shapes", "--data", "BOXES"], "2017.json must have a segmentation\n"),
        (["--recipe", "segment-shapes", "--data", "no/such/folder"], "--data: root (=no/such/folder) must be a folder"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    arguments, message, tiny, classifier, annotated, tmp_path, capsys
):
    (tmp_path / "empty").mkdir()
    places = {"CLASSIFIER": str(classifier), "EMPTY": str(tmp_path / "empty")}
    places |= {name: str(folder) for name, folder in annotated.items()}
    out = tmp_path / "out"
    assert main([*(places.get(one, one) for one in arguments), "--out", str(out), "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert message in printed.err
    assert not out.exists()


def test_weights_that_do_not_fit_leave_what_was_to_be_overwritten(tiny, tmp_path, capsys):
    (tmp_path / "checkpoint.pt").write_text("precious")
    arguments = ["--recipe", "detect-shapes", "--out", str(tmp_path), "--overwrite", "--device", "cpu"]
    assert main([*arguments, "--weights", str(tmp_path / "checkpoint.pt")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert (tmp_path / "checkpoint.pt").read_text() == "precious"


@pytest.mark.parametrize("recipe", KINDS)
def test_a_missing_library_is_an_error_before_training(recipe, tiny, tmp_path, capsys, monkeypatch):
    def missing(module):
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr("importlib.import_module", missing)
    assert main(["--recipe", recipe, "--out", str(tmp_path), "--device", "cpu"]) == 2
    assert capsys.readouterr().err.startswith("error: this needs torchmetrics: pip install torchmetrics")
    assert not list(tmp_path.iterdir())
