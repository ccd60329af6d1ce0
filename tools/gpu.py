"""Use a GPU that is there for some minutes: 1 tries what has never run, 2 trains, 3 measures the speed.

    RESNEST_EDU_COMMIT=... python -m tools.gpu 1|2|3 --data FOLDER --out FOLDER

The steps of a call come in the order of their worth, and each is a process of its own: one that fails, or leaves the
GPU in a state of error, ends alone, with its traceback in the log. No step gets more time than is left. Records in the
folder are gone on with, so the same call may be made again. Nothing is written but records and one log.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from resnest_edu.book.experiments import _cifar10
from resnest_edu.provenance import provenance

MINUTES = {1: 8.0, 2: 9.5, 3: 9.5}  # of a call, which may take ten and has to bring back what it wrote
DONE = "done"
EXPERIMENTS = {
    1: ["time_to_907"],
    2: ["best", "ablation", "components", "transfer"],
    # What is compiled may take all of a call (SECONDS in book/speed_goals.py), and so comes last; made again, the call
    # goes on with the next.
    3: ["speed_eager", "speed_layers", "speed_small", "speed_training", "speed_inference", "speed_breakdown"],
}
TRIED = {  # command -> the minutes that it may take of the first call
    ("nvidia-smi",): 0.2,
    (sys.executable, "-m", "pytest", "-q", "tests/speed/test_tail_kernels.py", "tests/speed/test_per_split.py"): 2.5,
    (sys.executable, "-m", "resnest_edu.speed.benchmark", "--device", "cuda", "--quick"): 2.0,
}


def steps(call: int, data: Path, out: Path) -> Iterator[tuple[list[str], float]]:
    """Each command of a call, with the minutes that it may take at most."""
    for command, minutes in TRIED.items() if call == 1 else ():
        yield list(command), minutes
    for name in EXPERIMENTS[call]:
        yield [sys.executable, "-m", "resnest_edu.experiments", name, "--data", str(data), "--out", str(out)], math.inf


def run(command: list[str], seconds: float, log: Path) -> str:
    """How the command ended, which has so many seconds; what it printed is shown and added to the log."""
    with log.open("ab") as file:
        file.write(f"\n$ {' '.join(command)}\n".encode())
        file.flush()
        before = file.tell()
        try:
            done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, timeout=max(seconds, 0))
            ended = f"status {done.returncode}" if done.returncode else DONE
        except subprocess.TimeoutExpired:
            ended = "out of time"
        except OSError as error:
            ended = str(error)
    print(log.read_bytes()[before:].decode(errors="replace")[-1500:], flush=True)
    return ended


def main(argv: list[str] | None = None) -> int:
    """Run one call; 0 if all of its steps came to their end, 1 if not, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("call", type=int, choices=MINUTES)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="CIFAR-10, as for the experiments")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the records and the log")
    parser.add_argument("--minutes", type=float, help=f"of the whole call (default, by call: {MINUTES})")
    arguments = parser.parse_args(argv)
    minutes = MINUTES[arguments.call] if arguments.minutes is None else arguments.minutes
    deadline = time.monotonic() + 60 * minutes
    try:
        if not minutes > 0:
            raise ValueError(f"--minutes (={minutes}) must be greater than 0")
        if not torch.cuda.is_available():
            raise ValueError("there is no GPU that PyTorch can use")
        if provenance(torch.device("cpu"))["commit"] is None:  # a record of unknown code is worth nothing
            raise ValueError("RESNEST_EDU_COMMIT must name the commit, for git does not know it here")
        _cifar10.name(arguments.data)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    log = arguments.out / f"call_{arguments.call}.log"
    rows = []
    for command, most in steps(arguments.call, arguments.data, arguments.out):
        start = time.monotonic()
        ended = run(command, min(60 * most, deadline - start), log)
        rows.append((ended, f"{time.monotonic() - start:4.0f} s  {ended:12}  {' '.join(command[:4])}"))
        print(rows[-1][1], flush=True)
    print("", *(row for _, row in rows), sep="\n")
    return int(any(ended != DONE for ended, _ in rows))


if __name__ == "__main__":
    raise SystemExit(main())
