"""``python -m resnest_edu.experiments``: run the book's recorded experiments; what is recorded already is skipped.

The record of experiment NAME is ``book/results/NAME.json``.
"""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from resnest_edu import experiments
from resnest_edu.results import is_recorded, record
from resnest_edu.training.loop import default_device

NAMES = sorted(info.name for info in pkgutil.iter_modules(experiments.__path__) if not info.name.startswith("_"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m resnest_edu.experiments", description="Record experiments.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--out", type=Path, default=Path("book/results"), help="folder of the records")
    parser.add_argument("--force", action="store_true", help="run also what is recorded for the same code")
    arguments = parser.parse_args(argv)
    for name in arguments.names:
        if name not in NAMES:
            print(f"error: NAME (={name!r}) must be one of {', '.join(NAMES)}", file=sys.stderr)
            return 2
    device = default_device()
    for name in arguments.names or NAMES:
        experiment = importlib.import_module(f"resnest_edu.experiments.{name}")
        path = arguments.out / f"{name}.json"
        if is_recorded(path, experiment.__name__) and not arguments.force:
            print(f"{name}: recorded for this code, skipped")
        elif experiment.NEEDS_CUDA and device.type != "cuda":
            print(f"{name}: needs CUDA, skipped")
        else:
            print(f"{name}: running on {device}", flush=True)
            figures = experiment.run(device)
            command = f"python -m resnest_edu.experiments {name}"
            record(path, figures, module=experiment.__name__, command=command, device=device)
            print(f"{name}: written to {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
