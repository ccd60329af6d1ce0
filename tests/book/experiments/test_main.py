import importlib
import json
import sys
import types

import pytest
import torch

from resnest_edu.book import fingerprint, records
from resnest_edu.book.experiments import __main__ as runner
from resnest_edu.book.experiments import _cifar10, _seeds, speed_cpu
from resnest_edu.book.experiments.__main__ import NAMES, main
from resnest_edu.book.records import read


def test_every_experiment_has_what_the_runner_needs():
    assert "speed_cpu" in NAMES
    for name in NAMES:
        experiment = importlib.import_module(f"resnest_edu.book.experiments.{name}")
        assert experiment.__doc__
        assert isinstance(experiment.NEEDS_CUDA, bool)
        if hasattr(experiment, "run_pieces"):
            assert len(experiment.PIECES) == len(set(experiment.PIECES)) > 0
            assert callable(experiment.run_pieces) and callable(experiment.summarize)
        elif hasattr(experiment, "run_seed"):
            assert len(experiment.SEEDS) > 1
        else:
            assert callable(experiment.run)


@pytest.fixture
def stub(monkeypatch):
    runs = []
    monkeypatch.setattr(speed_cpu, "run", lambda device: runs.append(device.type) or {"figure": len(runs)})
    return runs


def test_what_is_recorded_for_the_same_code_or_needs_a_gpu_is_skipped(tmp_path, stub, monkeypatch, capsys):
    arguments = ["speed_cpu", "--out", str(tmp_path)]
    assert main(arguments) == main(arguments) == 0
    assert len(stub) == 1
    assert "speed_cpu: recorded for this code, skipped" in capsys.readouterr().out
    assert main([*arguments, "--force"]) == 0
    assert read(tmp_path / "speed_cpu.json")["figure"] == 2
    monkeypatch.setattr(speed_cpu, "NEEDS_CUDA", True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["speed_cpu", "--out", str(tmp_path / "none")]) == 0
    assert len(stub) == 2 and not (tmp_path / "none").exists()
    assert "speed_cpu: needs CUDA, skipped" in capsys.readouterr().out


class Toy(types.ModuleType):
    """An experiment of four pieces that squares their numbers."""

    NEEDS_CUDA = False
    PIECES = ("1", "2", "3", "4")

    def __init__(self):
        super().__init__("resnest_edu.book.experiments.toy")
        self.source, self.ran, self.data = "value = 1\n", [], "none given"
        self.when_run = lambda name: None

    def run_pieces(self, names, device, data):
        assert device == runner.default_device()
        self.data = data
        for name in names:
            self.when_run(name)
            self.ran.append(name)
            yield name, {"square": int(name) ** 2}

    def summarize(self, pieces):
        assert list(pieces) == list(self.PIECES)
        return {"sum": sum(figures["square"] for figures in pieces.values())}


@pytest.fixture
def toy(monkeypatch):
    toy = Toy()
    monkeypatch.setitem(sys.modules, toy.__name__, toy)
    monkeypatch.setattr(runner, "NAMES", ["speed_cpu", "toy"])
    monkeypatch.setattr(fingerprint, "_source", lambda name: toy.source if name == toy.__name__ else None)
    return toy


def recorded(path):
    content = read(path / "toy.json")
    return content["pieces"], content["missing"], content.get("summary")


def squares(*numbers):
    return {str(number): {"square": number**2} for number in numbers}


def test_a_record_grows_piece_by_piece(tmp_path, toy, capsys):
    seen = {}
    before = records.fingerprint(toy.__name__)

    def when_run(name):
        toy.source = "value = 2\n"  # the code is that at the beginning
        seen[name] = (tmp_path / "toy.json").exists() and recorded(tmp_path)

    toy.when_run = when_run
    assert main(["toy", "--out", str(tmp_path)]) == 0
    assert toy.ran == ["1", "2", "3", "4"] and toy.data is None
    assert seen == {
        "1": False,
        "2": (squares(1), ["2", "3", "4"], None),
        "3": (squares(1, 2), ["3", "4"], None),
        "4": (squares(1, 2, 3), ["4"], None),
    }
    assert recorded(tmp_path) == (squares(1, 2, 3, 4), [], {"sum": 30})
    content = read(tmp_path / "toy.json")
    assert content["command"] == "python -m resnest_edu.experiments toy" and "data" not in content
    assert content["code"] == before
    toy.source = "value = 1\n"
    out = capsys.readouterr().out
    assert "toy: running 4 of 4 pieces on " in out
    assert "toy: 2 is recorded, 2 to go" in out
    assert f"toy: written to {tmp_path / 'toy.json'}" in out
    assert main(["toy", "--out", str(tmp_path)]) == 0
    assert len(toy.ran) == 4
    assert "toy: recorded for this code, skipped" in capsys.readouterr().out
    assert main(["toy", "--out", str(tmp_path), "--force"]) == 0
    assert len(toy.ran) == 8


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_run_goes_on_where_it_ended(tmp_path, toy, capsys, error):
    def fail(name):
        if name == "3":
            raise error

    arguments = ["toy", "--out", str(tmp_path)]
    toy.when_run = fail
    if error is KeyboardInterrupt:
        assert main(arguments) == 130
        assert "interrupted; what was recorded is kept" in capsys.readouterr().err
    else:
        with pytest.raises(OSError):
            main(arguments)
    assert recorded(tmp_path) == (squares(1, 2), ["3", "4"], None)
    assert not records.is_recorded(tmp_path / "toy.json", toy.__name__)
    toy.when_run = lambda name: None
    summarize, toy.summarize = toy.summarize, lambda pieces: 1 / 0
    with pytest.raises(ZeroDivisionError):  # a failing summary loses no piece
        main(arguments)
    assert "toy: running 2 of 4 pieces" in capsys.readouterr().out
    assert recorded(tmp_path) == (squares(1, 2, 3, 4), [], None)
    toy.summarize = summarize
    assert main(arguments) == 0
    assert toy.ran == ["1", "2", "3", "4"] and recorded(tmp_path)[2] == {"sum": 30}


def test_a_record_of_something_else_is_started_anew(tmp_path, toy, capsys):
    path, arguments = tmp_path / "toy.json", ["toy", "--out", str(tmp_path)]
    for change, why in [
        (lambda content: setattr(toy, "source", "value = 2\n"), "the record is of other code"),
        (lambda content: content.update(device="an abacus"), "the record is of other device"),
        (lambda content: content.update(versions={}, data="CIFAR-10"), "the record is of other libraries and data"),
        (lambda content: content.pop("commit"), "['commit'] is missing"),
    ]:
        main([*arguments, "--force"])
        content = read(path)
        content["missing"] = [content["pieces"].popitem()[0]]
        change(content)
        path.write_text(json.dumps(content))
        toy.ran.clear()
        capsys.readouterr()
        assert main(arguments) == 0
        assert toy.ran == [*"1234"]
        out = capsys.readouterr().out
        assert "toy: started anew" in out and why in out


def test_seeds_make_the_pieces(tmp_path, toy, monkeypatch):
    monkeypatch.delattr(Toy, "run_pieces")
    monkeypatch.delattr(Toy, "summarize")
    monkeypatch.setattr(_seeds.os, "cpu_count", lambda: 1)  # what the test makes up does not exist in other processes
    toy.SEEDS = range(3)
    toy.run_seed = lambda seed: {"threads": torch.get_num_threads(), "square": seed**2}
    threads = torch.get_num_threads()
    try:
        assert main(["toy", "--out", str(tmp_path)]) == 0
    finally:
        torch.set_num_threads(threads)
    pieces, missing, summary = recorded(tmp_path)
    assert pieces == {str(seed): {"threads": 1, "square": seed**2} for seed in range(3)}
    assert (missing, summary) == ([], {})


def test_nothing_new_is_started_when_the_minutes_are_over(tmp_path, toy, stub, monkeypatch, capsys):
    clock = [1000.0]
    monkeypatch.setattr(runner.time, "monotonic", lambda: clock[0])
    toy.when_run = lambda name: clock.__setitem__(0, clock[0] + 50)
    assert main(["toy", "--out", str(tmp_path), "--minutes", "1.5"]) == 0
    assert recorded(tmp_path) == (squares(1, 2), ["3", "4"], None)
    assert "toy: time is over, 2 of 4 pieces are missing; call again" in capsys.readouterr().out
    monkeypatch.setattr(runner, "NAMES", ["toy", "speed_cpu"])
    assert main(["--out", str(tmp_path), "--minutes", "0.1"]) == 0
    assert recorded(tmp_path) == (squares(1, 2, 3), ["4"], None)
    assert "speed_cpu: the 0.1 minutes are over, skipped" in capsys.readouterr().out
    assert stub == []


def test_what_needs_cifar10_is_skipped_without_it(tmp_path, toy, monkeypatch, capsys):
    toy.NEEDS_DATA = True
    assert main(["toy", "--out", str(tmp_path)]) == 0
    assert toy.ran == []
    skipped = "toy: needs CIFAR-10, skipped; give its folder: --data FOLDER, or make gpu DATA=FOLDER"
    assert skipped in capsys.readouterr().out
    monkeypatch.setattr(_cifar10, "name", lambda folder: f"a copy of {folder.name}")
    assert main(["toy", "--out", str(tmp_path), "--data", "some/where"]) == 0
    assert str(toy.data).endswith("where")
    content = read(tmp_path / "toy.json")
    assert content["command"] == "python -m resnest_edu.experiments toy --data FOLDER"
    assert content["data"] == "a copy of where"
    assert "some" not in json.dumps(content)


def test_bad_input(capsys):
    for arguments, message in [
        (["nothing"], "error: NAME (='nothing') must be one of "),
        (["--minutes", "0"], "error: --minutes (=0.0) must be greater than 0"),
        (["--minutes", "nan"], "error: --minutes (=nan) must be greater than 0"),
        (["--data", "no/where"], "error: root (=no/where) must exist"),
    ]:
        assert main(arguments) == 2
        assert capsys.readouterr().err.startswith(message)
