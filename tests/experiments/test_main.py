import importlib

import pytest
import torch

from resnest_edu.experiments import shapes_seeds
from resnest_edu.experiments.__main__ import NAMES, main
from resnest_edu.results import read


def test_every_experiment_has_what_the_runner_needs():
    assert "shapes_seeds" in NAMES
    for name in NAMES:
        experiment = importlib.import_module(f"resnest_edu.experiments.{name}")
        assert experiment.__doc__
        assert isinstance(experiment.NEEDS_CUDA, bool)
        assert callable(experiment.run)


@pytest.fixture
def stub(monkeypatch):
    runs = []
    monkeypatch.setattr(shapes_seeds, "run", lambda device: runs.append(device.type) or {"figure": len(runs)})
    return runs


def test_what_is_recorded_for_the_same_code_is_skipped(tmp_path, stub, capsys):
    arguments = ["shapes_seeds", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert main(arguments) == 0
    assert len(stub) == 1
    assert "shapes_seeds: recorded for this code, skipped" in capsys.readouterr().out
    assert main([*arguments, "--force"]) == 0
    assert read(tmp_path / "shapes_seeds.json")["figure"] == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_needs_a_gpu_is_skipped_without_one(tmp_path, stub, monkeypatch, capsys):
    monkeypatch.setattr(shapes_seeds, "NEEDS_CUDA", True)
    assert main(["shapes_seeds", "--out", str(tmp_path)]) == 0
    assert stub == []
    assert "shapes_seeds: needs CUDA, skipped" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_unknown_name(capsys):
    assert main(["nothing"]) == 2
    assert capsys.readouterr().err.startswith("error: NAME (='nothing') must be one of ")
