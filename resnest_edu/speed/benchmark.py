"""``python -m resnest_edu.speed.benchmark --model resnest50 timm/resnest50d --size 224``: how fast networks are here.

All are executed in the same way and warmed up alike. What is timed is a step: of training (forward, loss, backward,
stochastic gradient descent with momentum) or of inference, without the loading of data. The command takes one network
after the other, and prints its row at once; in :func:`compare` they take turns, so that a clock which slows down is met
by all.
"""

import gc
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from resnest_edu.arguments import CommandLine, first_line
from resnest_edu.provenance import provenance
from resnest_edu.speed.benchmark_networks import EXECUTIONS, TASKS, Case, all_cases, build, builder, make_step
from resnest_edu.speed.per_split import PerSplitBottleneck
from resnest_edu.speed.timing import (
    Call,
    Timing,
    fast_convolutions,
    interleave,
    kernel_seconds,
    kind_of,
    seconds_by_kind,
    wait,
)

# Rounds, and steps in a row; fewer on the CPU, where a step takes long.
EFFORT = {"cuda": {"rounds": 15, "repeats": 5}, "cpu": {"rounds": 7, "repeats": 1}}
QUICK = {"rounds": 3, "repeats": 1}


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
        "kernel_ms_by_kind": seconds_by_kind(kernels) if kernels else {},
        "longest_kernels": [{"name": name[:120], "kind": kind_of(name), "ms": kernels[name]} for name in names],
    }


def environment(device: torch.device) -> dict[str, Any]:
    """What the speeds depend on besides a record's provenance."""
    try:
        version = metadata.version("timm")
    except metadata.PackageNotFoundError:
        version = None
    return {"timm": version, "threads": torch.get_num_threads() if device.type == "cpu" else None}


COLUMNS = f"{'images/s':>10}{'÷ first':>9}{'ms':>10}{'quartiles':>20}{'peak GiB':>10}"


def measured(row: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """What was measured, below :data:`COLUMNS`; ``first`` is the row to compare with."""
    speed, peak = row["images_per_second"], "-" if row["peak_gib"] is None else f"{row['peak_gib']:.2f}"
    quartiles = f"{row['ms_low']:.2f}-{row['ms_high']:.2f}"
    return f"{speed:10.1f}{speed / first['images_per_second']:9.2f}{row['ms']:10.2f}{quartiles:>20}{peak:>10}"


def run_in_view(cases: Sequence[Case], device: torch.device, **options: Any) -> dict[str, Any]:
    """Time the cases one after the other and print each as it comes; ``options`` and the result are those of
    :func:`compare`."""
    results: dict[str, Any] = {"rows": [], "skipped": {}}
    first: dict[tuple[str, str], dict[str, Any]] = {}
    width = max(len(case.network) for case in cases)
    print(f"{'network':{width}} {'task':10} {'execution':9}{COLUMNS}", flush=True)
    for case in cases:
        print(f"{case.network:{width}} {case.task:10} {case.execution:9}", end="", flush=True)
        found = compare([case], device, **options)
        results["rows"] += found["rows"]
        results["skipped"] |= found["skipped"]
        for row in found["rows"]:
            print(measured(row, first.setdefault((case.task, case.execution), row)), flush=True)
        for reason in found["skipped"].values():
            print(f"  skipped: {reason}", flush=True)
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 after one line for whatever is wrong."""
    parser = CommandLine(
        prog="python -m resnest_edu.speed.benchmark",
        description="Time networks, ours and others', on random images.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=["resnest50", "accelerated/resnest50", "timm/resnest50d", "torchvision/resnet50"],
        metavar="NAME",
        help="of this package; accelerated/NAME is the same one split at a time, timm/NAME and torchvision/NAME are "
        "theirs (default: resnest50 in all four)",
    )
    parser.add_argument("--size", type=int, metavar="N", help="side of the images (default: 224; on the CPU 64)")
    parser.add_argument("--batch", type=int, metavar="N", help="images a step (default: 128; on the CPU 4)")
    parser.add_argument("--training", action="store_true", help="time training alone")
    parser.add_argument("--inference", action="store_true", help="time inference alone")
    parser.add_argument(
        "--execution", nargs="+", choices=EXECUTIONS, default=["eager"], help="graphs are CUDA's (default: eager)"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where there is one")
    parser.add_argument("--quick", action="store_true", help="three rounds alone, fewer and smaller images")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures there, with provenance, in JSON")
    arguments = parser.parse_args(argv)
    kind = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    batch, size = {"cuda": ((128, 224), (32, 128)), "cpu": ((4, 64), (2, 64))}[kind][arguments.quick]
    batch, size = (
        given if given is not None else default for given, default in ((arguments.batch, batch), (arguments.size, size))
    )
    tasks = [task for task in TASKS if getattr(arguments, task)] or TASKS
    device = torch.device(kind)
    try:
        if kind == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device (='cuda') must be a device that is there")
        if kind == "cpu" and "graphs" in arguments.execution:
            raise ValueError("--execution (='graphs') needs CUDA")
        if arguments.out and (arguments.out.is_dir() or not arguments.out.parent.is_dir()):
            raise ValueError(f"--out (={str(arguments.out)!r}) must be a file in a folder that is there")
        for name in arguments.model:
            with suppress(ModuleNotFoundError):
                builder(name)
        cases = all_cases(tasks, arguments.execution, batch, size, arguments.model)
        results = run_in_view(cases, device, **(QUICK if arguments.quick else EFFORT[kind]))
    except (ValueError, RuntimeError) as error:
        print(f"error: {first_line(error)}", file=sys.stderr)
        return 2
    if arguments.out:
        # Without the file: a record names no path.
        command = f"python -m resnest_edu.speed.benchmark --device {kind} --batch {batch} --size {size}"
        command += f" --model {' '.join(arguments.model)} --execution {' '.join(arguments.execution)}"
        command += "".join(f" --{name}" for name in (*TASKS, "quick") if getattr(arguments, name))
        content = {"command": command, **provenance(device), **environment(device), **results}
        arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
