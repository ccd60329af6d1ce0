import hashlib
import io
import json
import os
import random
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

import resnest_edu
from resnest_edu.atomic_write import write_atomically
from resnest_edu.network.resnest import ResNeSt
from resnest_edu.network.weights import unpack
from resnest_edu.training import Checkpoints, load_checkpoint, save_checkpoint
from tests.refused import assert_refused
from tests.training.small_runs import CLASSES, RECIPE, clean_process, run, small_model, values

NAMED = replace(RECIPE, model="resnest11_small", image_size=32)


@pytest.mark.parametrize("name", ["checkpoint.pt", "best.safetensors"])
def test_comes_back_as_it_was(name, tmp_path, monkeypatch):
    path, model = tmp_path / name, NAMED.build(2)
    save_checkpoint(path, model, NAMED, CLASSES, test_accuracy=0.5)
    assert list(tmp_path.iterdir()) == [path]  # nothing temporary is left
    assert values(resnest_edu.load(path)).equal(values(model))
    assert resnest_edu.read_header(path)["score"] == {"test_accuracy": 0.5}
    read, reads = Path.read_bytes, []
    monkeypatch.setattr(Path, "read_bytes", lambda self: reads.append(self) or read(self))
    loaded, recipe, classes = load_checkpoint(path)
    assert (vars(recipe), classes, reads) == (vars(NAMED), CLASSES, [path])
    assert not loaded.training and loaded.dropout.p == NAMED.dropout
    assert values(loaded).equal(values(model))


def test_to_describe_the_network_it_is_built_once_not_at_every_checkpoint(tmp_path, monkeypatch):
    model, built, build = small_model(), [], ResNeSt.__init__
    monkeypatch.setattr(ResNeSt, "__init__", lambda *given, **more: built.append(1) or build(*given, **more))
    for step in range(3):
        save_checkpoint(tmp_path / "checkpoint.pt", model, RECIPE, CLASSES, step=step)
    assert len(built) <= 1


def test_files_of_earlier_versions_load(tmp_path):
    path, model, average = tmp_path / "best.pt", NAMED.build(2), NAMED.build(2)
    content = {"model": model.state_dict(), "recipe": asdict(NAMED), "classes": ["a", "b"]}
    for state, expected in (({"test_accuracy": 0.5, "epoch": 3}, model), ({"average": average.state_dict()}, average)):
        buffer = io.BytesIO()
        torch.save(content | state, buffer)
        path.write_bytes(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())
        assert values(load_checkpoint(path)[0]).equal(values(expected))
        assert values(resnest_edu.load(path)).equal(values(expected))


def test_a_network_of_ones_own_comes_back(tmp_path):
    model, other = small_model(), nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    for name in ("a.pt", "a.safetensors"):  # the recipe names another network
        save_checkpoint(tmp_path / name, model, RECIPE, CLASSES)
        assert values(load_checkpoint(tmp_path / name)[0]).equal(values(model))
        save_checkpoint(tmp_path / name, other, RECIPE, CLASSES)
        with pytest.raises(ValueError, match=r"it does not say how to build it; load\(path, model\)"):
            resnest_edu.load(tmp_path / name)
        fresh = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
        assert values(resnest_edu.load(tmp_path / name, fresh)).equal(values(other))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "missing.pt")
    model, whole = NAMED.build(2), tmp_path / "whole.pt"
    save_checkpoint(whole, model, NAMED, CLASSES)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    (tmp_path / "cut.pt").write_bytes(whole.read_bytes()[:-1000])
    flipped = bytearray(whole.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (tmp_path / "flipped.pt").write_bytes(flipped)
    (tmp_path / "last.pt").write_bytes(whole.read_bytes()[:-1] + b"?")
    rows = [("weights.pt", "it has no recipe")]
    rows += [(name, "is damaged") for name in ("text.pt", "cut.pt", "flipped.pt", "last.pt")]
    assert_refused(lambda name: load_checkpoint(tmp_path / name), rows)


def test_a_file_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'pwned'}",)

    save_checkpoint(tmp_path / "evil.pt", NAMED.build(2), NAMED, CLASSES, evil=Evil())
    with pytest.raises(ValueError, match="might run code"):
        load_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "pwned").exists()


@pytest.fixture(scope="module")
def undisturbed() -> torch.Tensor:
    return run(None)


@pytest.fixture(scope="module")
def seconds(tmp_path_factory) -> float:
    """How long a whole run takes, once the server that starts the processes is up."""
    for folder in ("first", "second"):
        started = time.monotonic()
        process = clean_process(tmp_path_factory.mktemp(folder))
        process.start()
        process.join()
        assert process.exitcode == 0
    return time.monotonic() - started


@pytest.mark.parametrize("group", [0, *(pytest.param(group, marks=pytest.mark.slow) for group in range(1, 5))])
def test_fifty_runs_killed_at_random_moments_end_with_the_same_bits(group, tmp_path, seconds, undisturbed):
    """Ten here, in each of five groups. A run that was over before its moment came does not count."""
    generator = random.Random(group)
    killed = midway = attempts = 0
    while killed < 10:
        attempts += 1
        assert attempts < 50
        folder = tmp_path / str(attempts)
        process = clean_process(folder)
        process.start()
        while attempts % 2 and process.is_alive() and not (folder / "checkpoint.pt").exists():
            time.sleep(0.01)  # every other run has begun, however busy the machine is
        process.join(timeout=generator.uniform(0, seconds))
        process.kill()
        process.join()
        if process.exitcode == 0:
            seconds /= 2  # it was over: the machine is less busy than when a run was timed
        killed += process.exitcode == -9
        midway += process.exitcode == -9 and (folder / "checkpoint.pt").exists()
        assert run(folder).equal(undisturbed)
    assert midway > 0


def test_what_a_run_leaves(tmp_path, undisturbed):
    assert run(tmp_path).equal(undisturbed)
    names = {"checkpoint.pt", "previous.pt", "best.safetensors", "metrics.jsonl"}
    assert {path.name for path in tmp_path.iterdir()} == names
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    best = resnest_edu.read_header(tmp_path / "best.safetensors")["score"]
    assert best["test_accuracy"] == max(line["test_accuracy"] for line in lines)
    assert lines[best["epoch"] - 1]["test_accuracy"] == best["test_accuracy"]
    last, before = (torch.load(tmp_path / name, weights_only=True)["step"] for name in ("checkpoint.pt", "previous.pt"))
    assert (last, before) == (24, 23)
    assert run(tmp_path).equal(undisturbed)  # a finished run is left as it is


def test_a_run_that_is_not_due_is_saved_at_the_epochs_end(tmp_path):
    run(tmp_path, minutes=60.0)
    assert torch.load(tmp_path / "previous.pt", weights_only=True)["step"] == 18


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """What a run left that stopped in its third epoch."""

    class Stopping(Checkpoints):
        def save(self, model, state):
            super().save(model, state)
            if state["step"] == 14:
                raise InterruptedError

    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(InterruptedError):
        run(folder, kind=Stopping)
    return folder


@pytest.fixture
def interrupted(stopped, tmp_path) -> Path:
    """A copy of it, to go on from."""
    return Path(shutil.copytree(stopped, tmp_path / "interrupted"))


def test_the_metrics_of_an_interrupted_epoch_are_those_of_the_whole(interrupted, tmp_path):
    lines = []
    for folder in (interrupted, tmp_path / "calm"):
        run(folder)
        found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        lines.append([{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in found])
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-5000], lambda data: data.replace(b"conv1", b"conv2"), lambda data: b""]
)
def test_a_damaged_last_checkpoint_is_passed_over_aloud(damage, interrupted, undisturbed):
    last = interrupted / "checkpoint.pt"
    last.write_bytes(damage(last.read_bytes()))
    with pytest.warns(UserWarning, match=r"checkpoint.pt cannot be read \(.*damaged.*previous.pt at step 13"):
        assert run(interrupted).equal(undisturbed)


def test_a_last_checkpoint_that_is_missing_is_no_damage(interrupted, undisturbed):
    (interrupted / "checkpoint.pt").unlink()  # the machine stopped between two renames
    assert run(interrupted).equal(undisturbed)


def test_two_damaged_checkpoints_are_an_error(interrupted):
    for name in ("checkpoint.pt", "previous.pt"):
        (interrupted / name).write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=r"must hold a whole checkpoint: checkpoint.pt .*; previous.pt cannot be read"):
        run(interrupted)


def test_another_run_in_the_folder_is_an_error(interrupted, tmp_path):
    for arguments, message in (
        ((replace(RECIPE, base_rate=0.1), CLASSES, 0), r"base_rate \(=0.1\) must be 0.5, as in the run that"),
        ((replace(RECIPE, epochs=3), CLASSES, 0), r"epochs \(=3\) must be at least 4, as in the run that"),
        ((RECIPE, ("a", "c"), 0), r"classes \(=\['a', 'c'\]\) must be \['a', 'b'\]"),
        ((RECIPE, CLASSES, 7), r"seed \(=7\) must be 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Checkpoints(interrupted, *arguments).restore()
    save_checkpoint(interrupted / "checkpoint.pt", small_model(), RECIPE, CLASSES)
    with pytest.raises(ValueError, match="must be the checkpoint of a run; it holds weights alone"):
        Checkpoints(interrupted, RECIPE, CLASSES).restore()
    assert Checkpoints(tmp_path / "new", RECIPE, CLASSES).restore() is None


def test_a_checkpoint_of_another_version_is_one_clear_error(interrupted):
    whole = unpack((interrupted / "checkpoint.pt").read_bytes())
    rows = [
        ({"seed": None}, r"checkpoint.pt at step 14 in .* must be as a run of this version left it: 'seed' is missing"),
        ({"recipe": [1]}, "as a run of this version left it: 'list' object is not a mapping"),
        ({"history": [{"epoch": 1, "speed": 2}]}, "this version left it: .*unexpected keyword argument 'speed'"),
        ({"sums": None}, "left it: 'sums' is missing"),
        (
            {"model": {"conv1.weight": torch.zeros(1)}},
            r"left it: Error\(s\) in loading state_dict for ResNeSt: Missing",
        ),
    ]

    def resume(change):
        content = {name: value for name, value in (whole | change).items() if value is not None}
        buffer = io.BytesIO()
        torch.save(content, buffer)
        data = buffer.getvalue()
        (interrupted / "checkpoint.pt").write_bytes(data + hashlib.sha256(data).digest())
        run(interrupted)

    assert_refused(resume, rows)
    recipe = {name: value for name, value in whole["recipe"].items() if name not in ("precision", "accumulate")}
    resume({"recipe": recipe, "scaler": None, "best": None})  # of an earlier version, which had none of these


def test_an_unwritable_folder_is_an_error_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    rows = [(tmp_path / "file" / "run", "must be one that can be written to: "), (Path("/proc/run"), "must be one")]
    assert_refused(lambda folder: Checkpoints(folder, RECIPE, CLASSES), rows)  # not even root may write to /proc


@contextmanager
def full_beyond(size: int) -> Iterator[None]:
    """No file of this process may have more bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_names_the_last_good_checkpoint_and_leaves_it_whole(tmp_path, undisturbed):
    class Full(Checkpoints):
        def save(self, model, state):
            with full_beyond(2000) if state["step"] == 10 else nullcontext():
                super().save(model, state)

    last = r"\(File too large\); the last good one is checkpoint.pt at step 9"
    with pytest.raises(OSError, match=rf"^the checkpoint at step 10 could not be written to .* {last}"):
        run(tmp_path, kind=Full)
    assert not list(tmp_path.glob("*.tmp"))
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 9
    assert run(tmp_path).equal(undisturbed)  # once there is room again


def test_a_file_that_cannot_be_written_leaves_the_earlier_one(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"before")
    with full_beyond(1000), pytest.raises(OSError, match=r"File too large: .*file"):
        write_atomically(path, bytes(2000))
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
