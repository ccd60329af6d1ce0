"""The table: its rows, what is skipped, its ratios; and the command line."""

import json
import sys

import pytest
import torch

from resnest_edu import resnest11_small
from resnest_edu.speed import accelerate, benchmark
from resnest_edu.speed.benchmark import compare, describe, environment, executions, main, run
from resnest_edu.speed.benchmark_networks import CHOSEN, NETWORKS, OURS, PEER, SMALL_NETWORKS, Case
from resnest_edu.speed.timing import Timing

CPU = torch.device("cpu")
FEW = {"rounds": 2, "repeats": 1}


def small(task="training", execution="eager"):
    return [Case(name, task, execution, 2, 32) for name in SMALL_NETWORKS]


@pytest.fixture
def toys(monkeypatch):
    """Every network of the table is the small one."""
    for name in NETWORKS:
        monkeypatch.setitem(NETWORKS, name, resnest11_small)
    monkeypatch.setitem(NETWORKS, OURS, lambda: accelerate(resnest11_small()))


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


def test_compiled_code_is_forgotten_after_a_group(monkeypatch, clock):
    resets = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(1))
    run([*small(), *small("inference")], CPU, **FEW)
    assert len(resets) == 2


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


def test_groups_of_one_task_and_one_execution_take_turns_and_are_judged(toys, clock):
    names = (PEER, OURS, CHOSEN)
    cases = [Case(name, task, "eager", 2, 32) for task in ("training", "inference") for name in names]
    results = run([*cases, *small()], CPU, **FEW)
    assert [len(group) for group, *_ in clock] == [5, 3]
    assert len(results["rows"]) == 8
    judged = [(target["network"], target["target"], target["ratio"]) for target in results["targets"]]
    assert judged == [
        (OURS, "training speed, eager", pytest.approx(1 / 2)),
        (OURS, "inference speed, eager", pytest.approx(1 / 2)),
        (CHOSEN, "training speed, eager", pytest.approx(1 / 3)),
        (CHOSEN, "inference speed, eager", pytest.approx(1 / 3)),
    ]
    assert results["threads"] == torch.get_num_threads()
    json.dumps(results)


def test_what_any_group_skipped_is_told(monkeypatch, clock):
    monkeypatch.setitem(sys.modules, "timm", None)
    cases = [Case(PEER, task, "eager", 2, 32) for task in ("training", "inference")]
    assert list(run(cases, CPU, **FEW)["skipped"]) == [str(case) for case in cases]


def test_groups_share_the_time(monkeypatch):
    left = []
    now = iter([0.0, 10.0, 70.0])
    monkeypatch.setattr(benchmark.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(
        benchmark, "compare", lambda cases, device, *, seconds: left.append(seconds) or {"rows": [], "skipped": {}}
    )
    run([*small(), *small("inference")], CPU, seconds=100.0)
    assert left == [90.0, 30.0]


def test_environment(monkeypatch):
    assert environment(CPU)["threads"] == torch.get_num_threads()
    assert environment(torch.device("cuda"))["threads"] is None
    monkeypatch.setattr(benchmark.metadata, "version", lambda name: f"1.0 of {name}")
    assert environment(CPU)["timm"] == "1.0 of timm"

    def missing(name):
        raise benchmark.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(benchmark.metadata, "version", missing)
    assert environment(CPU)["timm"] is None


def row(network, speed, **others):
    ways = {"task": "training", "execution": "eager", "batch": 2, "size": 32, "channels_last": True}
    times = {"images_per_second": speed, "ms": 2000 / speed, "ms_low": 1.0, "ms_high": 9.0}
    return {"network": network, **ways, **times, "kernel_ms": None, "peak_gib": None, **others}


def test_the_table_as_text():
    rows = [row(OURS, 30.0, kernel_ms=12.345, peak_gib=6.789), row(PEER, 20.0), row(OURS, 7.0, execution="graphs")]
    rows.append(row(OURS, 40.0, channels_last=False))
    targets = [
        {"network": "a", "target": "speed", "limit": 1.3, "at_most": False, "ratio": 1.5, "met": True},
        {"network": "b", "target": "memory", "limit": 0.9, "at_most": True, "ratio": 0.95, "met": False},
    ]
    text = describe({"rows": rows, "skipped": {"a case": "timm is not installed"}, "targets": targets})
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines == [
        "network task execution images/s ÷ peer ms quartiles kernels peak GiB",
        "ours, accelerated training eager 30.0 1.50 66.67 1.00-9.00 12.35 6.79",
        "timm resnest50d training eager 20.0 1.00 100.00 1.00-9.00 - -",
        "ours, accelerated training graphs 7.0 - 285.71 1.00-9.00 - -",
        "ours, accelerated (NCHW) training eager 40.0 - 50.00 1.00-9.00 - -",
        "skipped: a case: timm is not installed",
        "a, speed: 1.500, met (≥ 1.3)",
        "b, memory: 0.950, missed (≤ 0.9)",
    ]


def test_what_can_be_executed(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    for device, quick, compiler, expected in (
        ("cuda", False, None, ["eager", "compiled", "graphs"]),
        ("cuda", True, None, ["eager"]),
        ("cpu", False, "c++", ["eager", "compiled"]),
        ("cpu", False, "clang++", ["eager", "compiled"]),
        ("cpu", False, None, ["eager"]),
        ("cpu", True, "c++", ["eager"]),
    ):
        monkeypatch.setattr(benchmark.shutil, "which", lambda name, it=compiler: name if name == it else None)
        assert executions(device, quick=quick) == expected


def test_command_line(toys, clock, tmp_path, capsys):
    out = tmp_path / "speed.json"
    assert main(["--device", "cpu", "--quick", "--batch", "2", "--size", "32", "--out", str(out)]) == 0
    assert [(len(names), *effort) for names, *effort in clock] == [(6, 3, 1), (6, 3, 1)]
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["command"] == "python -m resnest_edu.speed.benchmark --device cpu --batch 2 --size 32 --quick"
    assert str(tmp_path) not in out.read_text(encoding="utf-8")
    assert len(content["rows"]) == 2 * len(NETWORKS)
    assert {(entry["batch"], entry["size"]) for entry in content["rows"]} == {(2, 32)}
    assert len(content["targets"]) == 4
    assert {entry["blocks_per_split"] for entry in content["rows"] if entry["network"] == OURS} == {3}
    assert any(entry["network"] == CHOSEN for entry in content["rows"])
    assert f"{OURS}, training speed, eager: 2.000, met (≥ 1.1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sizes", "effort"),
    [(["--quick"], (2, 64), {"rounds": 3, "repeats": 1}), ([], (8, 128), {"rounds": 7, "repeats": 1})],
)
def test_what_is_run_unless_told_otherwise(monkeypatch, arguments, sizes, effort):
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(benchmark, "executions", lambda device, *, quick: ["eager"])
    monkeypatch.setattr(benchmark, "run", lambda cases, device, **options: calls.append((cases, device, options)))
    monkeypatch.setattr(benchmark, "describe", lambda results: "")
    assert main(arguments) == 0
    cases, device, options = calls[0]
    assert {(case.batch, case.size) for case in cases} == {sizes}
    assert (device, options) == (CPU, effort)
    assert len(cases) == 2 * len(NETWORKS)


def test_bad_arguments(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for arguments, message in (
        (["--batch", "1"], "error: batch (=1) must be at least 2\n"),
        (["--size", "8"], "error: size (=8) must be at least 32\n"),
        (["--device", "cuda"], "error: --device (='cuda') must be a device that is there\n"),
        (["--out", "."], "error: --out (='.') must be a file, not a folder\n"),
    ):
        assert main(arguments) == 2
        assert capsys.readouterr().err == message
