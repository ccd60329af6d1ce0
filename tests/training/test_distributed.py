import itertools
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from resnest_edu.training import load_checkpoint
from resnest_edu.training.distributed import ALONE, NO_SHARED_STORE, Group, process_group
from tests.training.small_runs import values
from tests.training.two_processes import gradients

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "tests.training.two_processes"


def start(*arguments: str, restarts: int = 0) -> subprocess.CompletedProcess[str]:
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", f"--max-restarts={restarts}"]
    return subprocess.run(
        [sys.executable, "-m", *launcher, "-m", SCRIPT, *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
            "PYTHONPATH": str(ROOT),
            NO_SHARED_STORE: "1",
        },
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_alone_there_is_nothing_to_share():
    with process_group("cpu") as group:
        assert group is ALONE
    assert ALONE.writes
    assert ALONE.share(torch.arange(3)).equal(torch.arange(3))
    assert ALONE.sum(torch.ones(2)).equal(torch.ones(2))
    model = torch.nn.Linear(1, 1)
    assert ALONE.wrap(model, torch.device("cpu")) is model
    ALONE.require_same("step", 3, torch.device("cpu"))
    assert [Group(1, 3).share(torch.arange(8)).tolist(), Group(1, 3).writes] == [[1, 4, 7], False]


def test_a_share_is_as_large_as_it_says():
    for size, count in itertools.product((1, 2, 3, 5), range(12)):
        groups = [Group(rank, size) for rank in range(size)]
        shares = [group.share_of(count) for group in groups]
        assert shares == [len(group.share(torch.arange(count))) for group in groups]
        assert sum(shares) == count


def test_a_restart_that_may_hang_is_warned_of(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.warns(UserWarning, match=f"start torchrun with {NO_SHARED_STORE}=1"), pytest.raises(KeyError):
        process_group("cpu").__enter__()
    monkeypatch.setenv(NO_SHARED_STORE, "1")
    with warnings.catch_warnings(), pytest.raises(KeyError):
        warnings.simplefilter("error")
        process_group("cpu").__enter__()


def test_processes_and_micro_batches_have_the_gradients_of_the_whole_batch(tmp_path):
    gradients(str(tmp_path / "alone.pt"), "1", "3")
    done = start("gradients", str(tmp_path / "together.pt"), "1", "2")
    assert done.returncode == 0, done.stderr
    runs = [torch.load(tmp_path / name, weights_only=True) for name in ("alone.pt", "together.pt")]
    whole, *others = itertools.chain(*runs)
    assert [run["size"] for run in (whole, *others)] == [1, 1, 2, 2]
    assert torch.tensor(whole["losses"])[:, -1].isfinite().sum() == 1  # the test is measured at the end
    for other in others:
        assert len(whole["gradients"]) == len(other["gradients"]) == 20
        for one, two in zip(whole["gradients"], other["gradients"], strict=True):
            assert one.abs().max() > 1e-3
            torch.testing.assert_close(two, one, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(other["weights"], whole["weights"], rtol=1e-6, atol=1e-6)
        losses = (torch.tensor(one["losses"]) for one in (other, whole))
        torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.slow
def test_a_lost_worker_does_not_change_the_result(colour_folder, tmp_path):
    weights, lines = [], []
    for name, restarts in (("undisturbed", 0), ("disturbed", 1)):
        marker, out = tmp_path / f"{name}-happened", tmp_path / name
        done = start(
            "train",
            str(marker) if restarts else "-",
            *("--data", str(colour_folder), "--out", str(out), "--resume", "--device", "cpu", "--save-minutes", "0"),
            *("--epochs", "5", "--warmup-epochs", "1", "--batch-size", "8", "--workers", "1"),
            restarts=restarts,
        )
        assert done.returncode == 0, done.stderr
        assert marker.exists() == bool(restarts)
        assert ("going on from checkpoint.pt at step" in done.stdout) == bool(restarts)
        assert done.stdout.count("results in") == 1  # one process prints
        weights.append(values(load_checkpoint(out / "checkpoint.pt")[0]))
        lines.append(len((out / "metrics.jsonl").read_text().splitlines()))
    assert weights[0].equal(weights[1])
    assert lines == [5, 5]


@pytest.mark.slow
def test_an_error_in_every_process_ends_them_all(colour_folder, tmp_path):
    done = start("train", "-", "--data", str(colour_folder), "--out", str(tmp_path / "out"), "--batch-size", "2")
    assert done.returncode != 0
    assert "batch_size (=2) must be at least 4, two for each of 2 processes" in done.stderr
    arguments = ["--data", str(colour_folder), "--out", str(tmp_path / "out"), "--device", "cpu", "--resume"]
    done = start("fail", "-", *arguments, "--batch-size", "8")
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode != 0 and "error: cannot read image a.png; --skip-broken leaves such files out" in lines
    # The other one notices, if torchrun does not end it first.
    assert all("cannot read" in line or "another process of the run has ended" in line for line in lines)


@pytest.mark.slow
def test_an_earlier_run_is_overwritten_by_several_processes(colour_folder, tmp_path):
    arguments = ["--data", str(colour_folder), "--out", str(tmp_path / "out"), "--device", "cpu", "--overwrite"]
    arguments += ["--warmup-epochs", "0", "--batch-size", "8", "--workers", "1"]
    for epochs in ("2", "1"):
        done = start("train", "-", *arguments, "--epochs", epochs)
        assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()) == 1
