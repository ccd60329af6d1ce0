"""``python -m resnest_edu.speed.benchmark``: our networks beside their peers, all in one run.

All are executed in the same way, warmed up alike, and take turns. What is timed is a step: of training (forward, loss,
backward, stochastic gradient descent with momentum) or of inference, without the loading of data.
"""

import argparse
import gc
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from resnest_edu.provenance import provenance
from resnest_edu.speed.benchmark_networks import CHOSEN, OURS, PEER, TASKS, Case, all_cases, build, make_step
from resnest_edu.speed.goals import judge_networks
from resnest_edu.speed.per_split import PerSplitBottleneck
from resnest_edu.speed.timing import Call, Timing, by_kind, fast_convolutions, interleave, kernel_seconds, kind_of, wait

# Rounds, and steps in a row; fewer on the CPU, where a step takes long.
EFFORT = {"cuda": {"rounds": 15, "repeats": 5}, "cpu": {"rounds": 7, "repeats": 1}}
QUICK = {"rounds": 3, "repeats": 1}
SECONDS = 400.0
"""After which an experiment prepares no further network, so that it ends before nine minutes are over."""


def compare(
    cases: Sequence[Case],
    device: torch.device,
    *,
    rounds: int,
    repeats: int,
    seconds: float = math.inf,
) -> dict[str, Any]:
    """Time the steps of ``cases`` in turns.

    Args:
        cases: what to run.
        device: where.
        rounds: see :func:`~resnest_edu.speed.timing.interleave`.
        repeats: steps in a row.
        seconds: once they are gone, no further case is prepared (compiling takes a minute each).

    Returns:
        ``rows``, one for each case, and ``skipped``, why any is missing; plain values. Times of a row are milliseconds
        a step. On CUDA it also has what kernels alone take, in all, by kind and the longest by name, and, but for
        CUDA graphs, the peak memory in GiB: weights, momentum, gradients, activations.

    Raises:
        ValueError: there are no cases, or ``rounds`` or ``repeats`` are too few.
    """
    if not cases:
        raise ValueError(f"cases (={list(cases)}) must be at least one")
    deadline = time.monotonic() + seconds
    rows: dict[Case, dict[str, Any]] = {}
    steps: dict[str, Call] = {}
    skipped: dict[str, str] = {}
    with fast_convolutions(device):
        for case in cases:
            if time.monotonic() >= deadline:
                skipped[str(case)] = "no time left"
                continue
            try:
                rows[case], steps[str(case)] = _prepare(case, device)
            except ModuleNotFoundError as error:
                skipped[str(case)] = f"{error.name} is not installed"
        timings = interleave(steps, device, rounds=rounds, repeats=repeats)
        for case, row in rows.items():
            row |= _times(timings[str(case)], case.batch) | _kernels(steps[str(case)], device)
    # Compiled code outlives its network otherwise, and only so many versions of one network are kept.
    torch.compiler.reset()
    return {"rows": list(rows.values()), "skipped": skipped}


def _prepare(case: Case, device: torch.device) -> tuple[dict[str, Any], Call]:
    """The row of a case as far as it is known before timing, and its step, warmed up."""
    cuda = device.type == "cuda"
    gc.collect()
    before = torch.cuda.memory_allocated(device) if cuda else 0
    model, images = build(case, device)
    step = make_step(model, images, case.execution)
    for _ in range(5 if cuda else 1):  # compilation, the choice of algorithms, the recording of graphs
        step()
    peak = None
    if cuda and case.execution != "graphs":  # a graph's memory was taken when it was recorded
        gc.collect()
        torch.cuda.reset_peak_memory_stats(device)
        step()
        wait(device)
        peak = (torch.cuda.max_memory_allocated(device) - before) / 2**30
    per_split = sum(isinstance(part, PerSplitBottleneck) for part in model.modules())
    return {**vars(case), "blocks_per_split": per_split, "peak_gib": peak}, step


def _times(timing: Timing, batch: int) -> dict[str, Any]:
    ms = {"ms": timing.median, "ms_low": timing.low, "ms_high": timing.high}
    return {
        "images_per_second": batch / timing.median,
        **{name: 1000 * value for name, value in ms.items()},
        "rounds": timing.rounds,
    }


def _kernels(step: Call, device: torch.device, longest: int = 12) -> dict[str, Any]:
    kernels = {name: 1000 * s for name, s in kernel_seconds(step, device).items()} if device.type == "cuda" else {}
    names = sorted(kernels, key=kernels.__getitem__, reverse=True)[:longest]
    return {
        "kernel_ms": sum(kernels.values()) or None,
        "kernel_ms_by_kind": by_kind(kernels) if kernels else {},
        "longest_kernels": [{"name": name[:120], "kind": kind_of(name), "ms": kernels[name]} for name in names],
    }


def environment(device: torch.device) -> dict[str, Any]:
    """What the speeds depend on besides a record's provenance."""
    try:
        version = metadata.version("timm")
    except metadata.PackageNotFoundError:
        version = None
    return {"timm": version, "threads": torch.get_num_threads() if device.type == "cpu" else None}


def describe(results: Mapping[str, Any]) -> str:
    """The rows as a plain table, what was skipped, and the targets."""
    lines = [
        f"{'network':30}{'task':11}{'execution':10}{'images/s':>10}{'÷ peer':>8}{'ms':>9}{'quartiles':>19}"
        f"{'kernels':>9}{'peak GiB':>9}"
    ]
    for row in results["rows"]:
        same = {key: row[key] for key in ("task", "execution", "batch", "size", "channels_last")}
        peers = [other for other in results["rows"] if {"network": PEER, **same}.items() <= other.items()]
        ratio = f"{row['images_per_second'] / peers[0]['images_per_second']:.2f}" if peers else "-"
        name = row["network"] + ("" if row["channels_last"] else " (NCHW)")
        kernels, peak = ("-" if row[key] is None else f"{row[key]:.2f}" for key in ("kernel_ms", "peak_gib"))
        lines.append(
            f"{name:30}{row['task']:11}{row['execution']:10}{row['images_per_second']:10.1f}{ratio:>8}{row['ms']:9.2f}"
            f"{row['ms_low']:10.2f}-{row['ms_high']:<8.2f}{kernels:>9}{peak:>9}"
        )
    lines += [f"skipped: {case}: {reason}" for case, reason in results["skipped"].items()]
    for target in results["targets"]:
        verdict, sign = "met" if target["met"] else "missed", "≤" if target["at_most"] else "≥"
        lines.append(
            f"{target['network']}, {target['target']}: {target['ratio']:.3f}, {verdict} ({sign} {target['limit']:g})"
        )
    return "\n".join(lines)


def run(cases: Sequence[Case], device: torch.device, **options: Any) -> dict[str, Any]:
    """Compare each group of ``cases`` of one task and one execution, and judge the targets; plain values.

    Args:
        cases: what to run.
        device: where.
        options: of :func:`compare`; its ``seconds`` are those of all groups together.
    """
    end = time.monotonic() + options.pop("seconds", math.inf)
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    for group in dict.fromkeys((case.task, case.execution) for case in cases):
        members = [case for case in cases if (case.task, case.execution) == group]
        found = compare(members, device, seconds=end - time.monotonic(), **options)
        rows += found["rows"]
        skipped |= found["skipped"]
    targets = [
        {"network": ours, **target}
        for ours in (OURS, CHOSEN)
        for target in judge_networks(rows, device.type, ours=ours, peer=PEER)
    ]
    return {**environment(device), "rows": rows, "skipped": skipped, "targets": targets}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m resnest_edu.speed.benchmark", description="Compare speeds.")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where there is one")
    parser.add_argument("--quick", action="store_true", help="three rounds, eager only, fewer and smaller images")
    parser.add_argument("--batch", type=int, help="images a step (default: 128 on CUDA, 8 on the CPU; quick: 32, 2)")
    parser.add_argument("--size", type=int, help="their side (default: 224 on CUDA, 128 on the CPU; quick: 128, 64)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures there, with provenance, in JSON")
    arguments = parser.parse_args(argv)
    kind = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    batch, size = {"cuda": ((128, 224), (32, 128)), "cpu": ((8, 128), (2, 64))}[kind][arguments.quick]
    try:
        if kind == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device (='cuda') must be a device that is there")
        if arguments.out and arguments.out.is_dir():
            raise ValueError(f"--out (={str(arguments.out)!r}) must be a file, not a folder")
        batch = batch if arguments.batch is None else arguments.batch
        size = size if arguments.size is None else arguments.size
        cases = all_cases(TASKS, executions(kind, quick=arguments.quick), batch, size)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    device = torch.device(kind)
    results = run(cases, device, **(QUICK if arguments.quick else EFFORT[kind]))
    print(describe(results))
    if arguments.out:
        # Without the file: a record names no path.
        command = f"python -m resnest_edu.speed.benchmark --device {kind} --batch {batch} --size {size}"
        command += " --quick" if arguments.quick else ""
        content = {"command": command, **provenance(device), **results}
        arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def executions(device_type: str, *, quick: bool) -> list[str]:
    """What can be run: no CUDA graphs on the CPU, nothing compiled there without a C++ compiler, nor if ``quick``."""
    compiler = device_type == "cuda" or shutil.which(os.environ.get("CXX", "c++")) or shutil.which("clang++")
    if quick or not compiler:
        return ["eager"]
    return ["eager", "compiled", "graphs"] if device_type == "cuda" else ["eager", "compiled"]


if __name__ == "__main__":
    raise SystemExit(main())
