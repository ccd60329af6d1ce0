"""Run every chapter, and compare it with its stored outputs, as other machines would: `make portability`.

    python -m tools.portability [--versions lowest newest] [--seeds 1 2 ...]

Sums are rounded otherwise with other instructions, another number of threads, another PyTorch; every proof and every
claim of the book must hold all the same. What ran is kept, so the same command goes on where it was interrupted.
The versions are installed under `_build/portability`: the lowest that pyproject.toml allows of every library, and the
newest PyTorch; several GB each. With `--seeds`, every chapter runs on this
machine as it is, with these seeds for its demonstrations.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT

from tools.executed import ROOT

FOLDER = ROOT / "_build" / "portability"
# MKL computes products of matrices, oneDNN convolutions, ATen the rest.
INSTRUCTIONS = {
    "baseline": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "native": {},
}
THREADS = (1, 2)
BUILDERS = ("jupyter", "sphinx", "nodejs", "beautifulsoup4", "pyyaml")  # they make the site, and run no chapter


def lowest() -> list[str]:
    """The oldest versions that the project allows of what package and chapters import, as pip's requirements."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    required = [*project["dependencies"], *extras["book"], *extras["transfer"]]
    return [re.sub(r">=([\w.]+).*", r"==\1", one) for one in required if not one.startswith(BUILDERS)]


def library(which: str) -> Path:
    """Where these versions lie, installed if need be; whatever imports them first finds them there."""
    folder = FOLDER / f"libraries-{which}"
    done = folder / ".installed"
    if not done.exists():
        wanted = lowest() if which == "lowest" else ["torch", "torchvision"]
        print(f"Installing {', '.join(wanted)}", flush=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--upgrade"]
        subprocess.run([*pip, "--target", str(folder), *wanted], check=True)
        done.touch()
    return folder


def settings(versions: list[str], seeds: list[int]) -> Iterator[tuple[str, int, dict[str, str]]]:
    """Name, threads and environment of every run."""
    if seeds:
        yield from ((f"seed {seed}", 1, {"DEMONSTRATION_SEED": str(seed)}) for seed in seeds)
        return
    for which in versions:
        path = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(library(which))])}
        for threads, (name, instructions) in itertools.product(THREADS, INSTRUCTIONS.items()):
            yield f"{which} versions, {name}, {threads} threads", threads, {**path, **instructions}


def run(name: str, threads: int, environment: dict[str, str]) -> list[str]:
    """The cells that fell; the log beside tells why."""
    processes = max(1, (os.cpu_count() or 1) // threads)
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(processes), "--dist", "loadfile", "--nbval", "book"]
    variables = {**os.environ, **environment, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=ROOT, env=variables, stdout=PIPE, stderr=STDOUT, encoding="utf-8")
    (FOLDER / f"{name}.log").write_text(done.stdout, encoding="utf-8")
    fell = re.findall(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return fell or ([f"pytest ended with status {done.returncode}; see {name}.log"] if done.returncode else [])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.portability", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--versions", nargs="+", choices=("lowest", "newest"), default=["lowest", "newest"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[], metavar="SEED")
    options = parser.parse_args(arguments)
    FOLDER.mkdir(parents=True, exist_ok=True)
    failed = False
    for name, threads, environment in settings(options.versions, options.seeds):
        fell = run(name, threads, environment)
        failed |= bool(fell)
        print("\n    ".join([f"  {name}: {f'{len(fell)} fell' if fell else 'passed'}", *fell]), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
