"""The calls of a GPU: what fails or lasts too long ends alone, and no minute is given to what cannot be used."""

import importlib
import math
import sys

import pytest

from resnest_edu.book.experiments.__main__ import NAMES
from tools import gpu


@pytest.fixture
def call(monkeypatch, tmp_path, tiny_cifar10):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setenv("RESNEST_EDU_COMMIT", "0123456789ab")
    return ["2", "--data", str(tiny_cifar10), "--out", str(tmp_path / "out")]


def test_every_experiment_that_needs_a_gpu_is_in_one_call():
    needed = {name for name in NAMES if importlib.import_module(f"resnest_edu.book.experiments.{name}").NEEDS_CUDA}
    assert sorted(name for names in gpu.EXPERIMENTS.values() for name in names) == sorted(needed)


def test_a_step_that_fails_or_lasts_too_long_ends_alone(monkeypatch, tmp_path, call, capsys):
    programs = {"raise ValueError('broken')": 1, "import time; time.sleep(60)": 0.02, "print('recorded')": math.inf}
    commands = [([sys.executable, "-c", program], minutes) for program, minutes in programs.items()]
    monkeypatch.setattr(gpu, "steps", lambda *_: [*commands, (["no-such-program"], math.inf)])
    assert gpu.main(call) == 1
    table = capsys.readouterr().out.rpartition("\n\n")[2]
    assert [row[8:20].strip() for row in table.splitlines()][:3] == ["status 1", "out of time", "done"]
    log = (tmp_path / "out/call_2.log").read_text()
    assert "ValueError: broken" in log and "\nrecorded\n" in log and "no-such-program" in table
    monkeypatch.setattr(gpu, "steps", lambda *_: commands[2:])
    assert gpu.main(call) == 0
    assert (tmp_path / "out/call_2.log").read_text().startswith(log)
    monkeypatch.setattr(gpu, "steps", lambda *_: [(commands[1][0], math.inf)])
    assert gpu.main([*call, "--minutes", "0.001"]) == 1 and "out of time" in capsys.readouterr().out


def test_an_experiment_goes_on_with_its_record(call, tmp_path):
    assert [(command[3], command[-1]) for command, _ in gpu.steps(2, tmp_path, tmp_path / "out")] == [
        (name, str(tmp_path / "out")) for name in gpu.EXPERIMENTS[2]
    ]
    assert [minutes for _, minutes in gpu.steps(1, tmp_path, tmp_path)] == [*gpu.TRIED.values(), math.inf]


def test_no_minute_is_lost_without_a_gpu_a_commit_or_the_data(monkeypatch, tmp_path, call, capsys):
    for option, value, named in (("--minutes", "0", "--minutes (=0.0)"), ("--data", str(tmp_path / "none"), "none")):
        assert gpu.main([*call, option, value]) == 2 and named in capsys.readouterr().err
    monkeypatch.setattr(gpu, "provenance", lambda device: {"commit": None})
    assert gpu.main(call) == 2 and "RESNEST_EDU_COMMIT" in capsys.readouterr().err
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu.main(call) == 2 and "no GPU" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
