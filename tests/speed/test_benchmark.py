"""The table: its rows, what is skipped, its ratios; and the command line."""

import json
import shlex
import sys

import pytest
import torch

from resnest_edu.speed import benchmark
from resnest_edu.speed.benchmark import compare, environment, main, measured
from resnest_edu.speed.benchmark_networks import PEER, SMALL_NETWORKS, Case
from resnest_edu.speed.timing import Timing

CPU = torch.device("cpu")
FEW = {"rounds": 2, "repeats": 1}


def small(task="training", execution="eager"):
    return [Case(name, task, execution, 2, 32) for name in SMALL_NETWORKS]


@pytest.fixture
def clock(monkeypatch):
    """Nothing is run by the timer: the n-th call takes n tenths of a second, give or take a half of it."""
    groups = []

    def interleave(calls, device, *, rounds, repeats):
        groups.append((list(calls), rounds, repeats))
        return {name: Timing(0.1 * n, 0.05 * n, 0.15 * n, rounds) for n, name in enumerate(calls, 1)}

    monkeypatch.setattr(benchmark, "interleave", interleave)
    return groups


def test_a_row_for_every_case(clock):
    results = compare(small(), CPU, rounds=4, repeats=3)
    assert clock == [(["ours, small, training, eager", "ours, small, accelerated, training, eager"], 4, 3)]
    assert results["skipped"] == {}
    first, second = results["rows"]
    assert first == {
        "network": "ours, small",
        "task": "training",
        "execution": "eager",
        "batch": 2,
        "size": 32,
        "channels_last": True,
        "blocks_per_split": 0,
        "peak_gib": None,
        "images_per_second": pytest.approx(20),
        "ms": pytest.approx(100),
        "ms_low": pytest.approx(50),
        "ms_high": pytest.approx(150),
        "rounds": 4,
        "kernel_ms": None,
        "kernel_ms_by_kind": {},
        "longest_kernels": [],
    }
    assert (second["blocks_per_split"], second["images_per_second"]) == (3, pytest.approx(10))
    json.dumps(results)


def test_really_timed():
    for row in compare(small("inference"), CPU, **FEW)["rows"]:
        assert 0 < row["ms_low"] <= row["ms"] <= row["ms_high"]
        assert row["images_per_second"] == pytest.approx(2000 / row["ms"])


def test_every_step_is_warmed_up_before_any_is_timed(monkeypatch):
    events = []
    monkeypatch.setattr(benchmark, "make_step", lambda model, images, execution: lambda: events.append("step"))
    monkeypatch.setattr(
        benchmark,
        "interleave",
        lambda calls, device, **options: events.append("timed") or dict.fromkeys(calls, Timing(1.0, 1.0, 1.0, 2)),
    )
    compare(small(), CPU, **FEW)
    assert events == ["step", "step", "timed"]


def test_a_missing_peer_is_skipped(monkeypatch, clock):
    monkeypatch.setitem(sys.modules, "timm", None)
    peer = Case(PEER, "training", "eager", 2, 32)
    results = compare([peer, *small()], CPU, **FEW)
    assert results["skipped"] == {"timm resnest50d, training, eager": "timm is not installed"}
    assert [row["network"] for row in results["rows"]] == list(SMALL_NETWORKS)


def test_what_there_is_no_time_for_is_skipped(clock, monkeypatch):
    now = iter([100.0, 100.0, 130.0])
    monkeypatch.setattr(benchmark.time, "monotonic", lambda: next(now))
    results = compare(small(), CPU, seconds=30.0, **FEW)
    assert [row["network"] for row in results["rows"]] == ["ours, small"]
    assert results["skipped"] == {"ours, small, accelerated, training, eager": "no time left"}


def test_no_cases():
    with pytest.raises(ValueError, match=r"^cases \(=\[\]\) must be at least one$"):
        compare([], CPU, **FEW)


def test_kernels_of_a_row(monkeypatch):
    kernels = {"xmma": 0.002, "direct_copy_kernel": 0.001, "triton_": 0.004, "z" * 200: 0.003}
    monkeypatch.setattr(benchmark, "kernel_seconds", lambda step, device: kernels)
    row = benchmark._kernels(lambda: None, torch.device("cuda"), longest=3)
    assert row["kernel_ms"] == pytest.approx(10)
    assert row["kernel_ms_by_kind"] == {"triton": 4, "copy": 1, "convolution": 2, "other": 3}
    assert row["longest_kernels"] == [
        {"name": "triton_", "kind": "triton", "ms": 4},
        {"name": "z" * 120, "kind": "other", "ms": 3},
        {"name": "xmma", "kind": "convolution", "ms": 2},
    ]
    monkeypatch.setattr(benchmark, "kernel_seconds", lambda step, device: {})
    assert benchmark._kernels(lambda: None, torch.device("cuda"))["kernel_ms"] is None


def test_peak_memory_is_what_a_step_adds_to_what_was_there_before(monkeypatch):
    events = []
    model, images = torch.nn.Identity(), torch.zeros(1)
    monkeypatch.setattr(benchmark, "build", lambda case, device: events.append("build") or (model, images))
    monkeypatch.setattr(benchmark, "make_step", lambda *arguments: lambda: events.append("step"))
    monkeypatch.setattr(benchmark, "wait", lambda device: events.append("wait"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: events.append("before") or 2**30)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: events.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: events.append("peak") or 4 * 2**30)
    row, _ = benchmark._prepare(small()[0], torch.device("cuda"))
    assert row["peak_gib"] == 3
    assert events == ["before", "build", *["step"] * 5, "reset", "step", "wait", "peak"]
    events.clear()
    row, _ = benchmark._prepare(small(execution="graphs")[0], torch.device("cuda"))
    assert row["peak_gib"] is None and events[-1] == "step"


def test_environment(monkeypatch):
    assert environment(CPU)["threads"] == torch.get_num_threads()
    assert environment(torch.device("cuda"))["threads"] is None
    monkeypatch.setattr(benchmark.metadata, "version", lambda name: f"1.0 of {name}")
    assert environment(CPU)["timm"] == "1.0 of timm"

    def missing(name):
        raise benchmark.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(benchmark.metadata, "version", missing)
    assert environment(CPU)["timm"] is None


def test_a_row_is_printed_when_it_is_measured(clock, monkeypatch, capsys):
    """The command begins a row before it prepares the network; what is not installed is said in its place."""
    shown = []
    prepare = benchmark._prepare

    def look(case, device):
        shown.append(capsys.readouterr().out)
        return prepare(case, device)

    monkeypatch.setattr(benchmark, "_prepare", look)
    monkeypatch.setitem(sys.modules, "timm", None)
    models = ["--model", "resnest11_small", "timm/resnest50d", "accelerated/resnest11_small"]
    assert main([*models, "--device", "cpu", "--quick", "--size", "32"]) == 0
    lines = "".join([*shown, capsys.readouterr().out]).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "network task execution images/s ÷ first ms quartiles peak GiB",
        "resnest11_small training eager 20.0 1.00 100.00 50.00-150.00 -",
        "timm/resnest50d training eager skipped: timm is not installed",
        "accelerated/resnest11_small training eager 20.0 1.00 100.00 50.00-150.00 -",
        "resnest11_small inference eager 20.0 1.00 100.00 50.00-150.00 -",
        "timm/resnest50d inference eager skipped: timm is not installed",
        "accelerated/resnest11_small inference eager 20.0 1.00 100.00 50.00-150.00 -",
    ]
    assert shown[1].splitlines()[-1].split() == lines[2].split()[:3]
    assert all(effort == [3, 1] for _, *effort in clock)
    with_peak = {"images_per_second": 3.0, "peak_gib": 6.789, "ms": 2.0, "ms_low": 1.0, "ms_high": 9.0}
    assert measured(with_peak, {"images_per_second": 2.0}).split() == ["3.0", "1.50", "2.00", "1.00-9.00", "6.79"]


@pytest.mark.parametrize(
    ("arguments", "sizes", "effort", "ways"),
    [
        ([], (4, 64), {"rounds": 7, "repeats": 1}, [("training", "eager"), ("inference", "eager")]),
        (["--quick", "--training"], (2, 64), {"rounds": 3, "repeats": 1}, [("training", "eager")]),
        (
            ["--inference", "--execution", "eager", "compiled", "--batch", "3", "--size", "40"],
            (3, 40),
            {"rounds": 7, "repeats": 1},
            [("inference", "eager"), ("inference", "compiled")],
        ),
    ],
)
def test_what_is_run(monkeypatch, tmp_path, arguments, sizes, effort, ways):
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(benchmark, "run_in_view", lambda *given, **options: calls.append((*given, options)) or {})
    models = ["resnest14", "torchvision/resnet18"]
    assert main(arguments) == main([*arguments, "--model", *models, "--out", str(tmp_path / "speed.json")]) == 0
    defaults = ["resnest50", "accelerated/resnest50", "timm/resnest50d", "torchvision/resnet50"]
    for names, (cases, device, options) in zip((defaults, models), calls, strict=True):
        assert (device, options) == (CPU, effort)
        assert cases == [Case(name, *way, *sizes) for way in ways for name in names]
    text = (tmp_path / "speed.json").read_text(encoding="utf-8")
    again = shlex.split(json.loads(text)["command"].removeprefix("python -m resnest_edu.speed.benchmark"))
    assert str(tmp_path) not in text and main(again) == 0 and calls[2] == calls[1]


def test_bad_arguments(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(benchmark, "run_in_view", None)
    for arguments, message in (
        (["--batch", "1"], "batch (=1) must be at least 2"),
        (["--batch", "x"], "argument --batch: invalid int value: 'x'"),
        (["--size", "8"], "size (=8) must be at least 32"),
        (["--model", "resnet50"], "model (='resnet50') must be one of resnest11_small, "),
        (["--model", "torchvision/x"], "model (='torchvision/x') must be a model of this package, of timm/ or"),
        (["--execution", "graphs"], "--execution (='graphs') needs CUDA"),
        (["--device", "cuda"], "--device (='cuda') must be a device that is there"),
        (["--out", "."], "--out (='.') must be a file in a folder that is there"),
        (["--out", "no/such.json"], "--out (='no/such.json') must be a file in a folder that is there"),
    ):
        try:
            assert main(arguments) == 2
        except SystemExit as end:
            assert end.code == 2
        printed = capsys.readouterr()
        assert printed.err.startswith(f"error: {message}") and printed.err.count("\n") == 1 and not printed.out
