"""``python -m resnest_edu.experiments``: run the book's recorded experiments; what is recorded already is skipped.

The record of experiment NAME is ``book/results/NAME.json``. Some are made of pieces; their record grows piece by piece,
and a later call goes on where an earlier one ended.
"""

import argparse
import hashlib
import importlib
import math
import pkgutil
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from resnest_edu.arguments import require_one_of
from resnest_edu.atomic_write import write_atomically
from resnest_edu.book import experiments
from resnest_edu.book.experiments import _cifar10
from resnest_edu.book.experiments._seeds import run_seeds
from resnest_edu.book.records import is_recorded, origin, read, record, write
from resnest_edu.training.loop import default_device

NAMES = sorted(info.name for info in pkgutil.iter_modules(experiments.__path__) if not info.name.startswith("_"))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m resnest_edu.experiments", description="Record experiments.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--out", type=Path, default=Path("book/results"), help="folder of the records")
    parser.add_argument("--force", action="store_true", help="run also what is recorded for the same code")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="CIFAR-10, for the experiments that train on it: FOLDER/cifar-10-batches-py, or images in "
        "FOLDER/train/CLASS/* and FOLDER/test/CLASS/*",
    )
    parser.add_argument("--cpu", action="store_true", help="none of those that need a GPU")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="start nothing new when so many are over (default: no limit)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 for bad input."""
    arguments = build_parser().parse_args(argv)
    deadline = time.monotonic() + 60 * arguments.minutes
    try:
        for name in arguments.names:
            require_one_of("NAME", name, NAMES)
        if not arguments.minutes > 0:
            raise ValueError(f"--minutes (={arguments.minutes}) must be greater than 0")
        data_name = None if arguments.data is None else _cifar10.name(arguments.data)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    device = torch.device("cpu") if arguments.cpu else default_device()
    try:
        for name in arguments.names or NAMES:
            experiment = importlib.import_module(f"resnest_edu.book.experiments.{name}")
            torch.set_num_threads(getattr(experiment, "THREADS", 1))
            path = arguments.out / f"{name}.json"
            needs_data = getattr(experiment, "NEEDS_DATA", False)
            if is_recorded(path, experiment.__name__) and not arguments.force:
                print(f"{name}: recorded for this code, skipped")
            elif experiment.NEEDS_CUDA and device.type != "cuda":
                print(f"{name}: needs CUDA, skipped")
            elif needs_data and arguments.data is None:
                print(f"{name}: needs CIFAR-10, skipped; give its folder: --data FOLDER, or make gpu DATA=FOLDER")
            elif time.monotonic() >= deadline:
                print(f"{name}: the {arguments.minutes:g} minutes are over, skipped")
            elif hasattr(experiment, "run_pieces") or hasattr(experiment, "run_seed"):
                data = arguments.data if needs_data else None
                _run_pieces(experiment, path, device, data, data_name, deadline, afresh=arguments.force)
            else:
                print(f"{name}: running on {device}", flush=True)
                figures = _with_files(experiment.run(device), arguments.out)
                record(path, figures, **_origin(experiment, device))
                print(f"{name}: written to {path}")
    except KeyboardInterrupt:
        print("interrupted; what was recorded is kept, and the same command goes on", file=sys.stderr)
        return 130
    return 0


def _with_files(figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write the files that belong to a record; it names their SHA-256 in the place of their content."""
    files = figures.get("files", {})
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomically(folder / name, content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return figures | ({"files": hashes} if files else {})


def _origin(experiment: ModuleType, device: torch.device) -> dict[str, Any]:
    command = f"python -m resnest_edu.experiments {_name(experiment)}"
    command += " --data FOLDER" if getattr(experiment, "NEEDS_DATA", False) else ""
    return {"module": experiment.__name__, "command": command, "device": device}


def _name(experiment: ModuleType) -> str:
    return experiment.__name__.rpartition(".")[2]


def _run_pieces(
    experiment: ModuleType,
    path: Path,
    device: torch.device,
    data: Path | None,
    data_name: str | None,
    deadline: float,
    *,
    afresh: bool,
) -> None:
    """Run the pieces that are missing, as far as time allows, and write the record after each."""
    name = _name(experiment)
    by_seed = hasattr(experiment, "run_seed")
    all_pieces = [str(seed) for seed in experiment.SEEDS] if by_seed else experiment.PIECES
    run_pieces = partial(run_seeds, experiment.__name__) if by_seed else experiment.run_pieces
    if by_seed:
        device = torch.device("cpu")
    head = origin(**_origin(experiment, device)) | ({} if data is None else {"data": data_name})
    head |= _earlier(path)
    done = {} if afresh else _pieces_so_far(experiment, path, head)

    def missing() -> list[str]:
        return [piece for piece in all_pieces if piece not in done]

    def write_all(**summary: Any) -> None:
        pieces = {piece: done[piece] for piece in all_pieces if piece in done}
        write(path, {**head, "pieces": pieces, "missing": missing(), **summary})

    def names() -> Iterator[str]:
        for piece in missing():
            if time.monotonic() >= deadline:
                return
            yield piece

    print(f"{name}: running {len(missing())} of {len(all_pieces)} pieces on {device}", flush=True)
    for piece, figures in run_pieces(names(), device, data):
        done[piece] = figures
        write_all()
        print(f"{name}: {piece} is recorded, {len(missing())} to go", flush=True)
    if missing():
        print(f"{name}: time is over, {len(missing())} of {len(all_pieces)} pieces are missing; call again")
    else:
        found = {piece: done[piece] for piece in all_pieces}
        write_all(summary=experiment.summarize(found) if hasattr(experiment, "summarize") else {})
        print(f"{name}: written to {path}")


def _earlier(path: Path) -> dict[str, Any]:
    """Recordings of the same experiment from other processors, or by earlier code, that are kept beside the present."""
    try:
        content = read(path)
    except (FileNotFoundError, ValueError):
        return {}
    return {"earlier": content["earlier"]} if "earlier" in content else {}


def _pieces_so_far(experiment: ModuleType, path: Path, head: dict[str, Any]) -> dict[str, Any]:
    """The pieces that an earlier call has recorded: by the same code, on the same device and data."""
    try:
        content = read(path)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        print(f"{_name(experiment)}: started anew: {error}")
        return {}
    same = {
        "code": "code",
        "device": "device",
        "instructions": "instructions",
        "threads": "threads",
        "versions": "libraries",
        "data": "data",
    }
    other = [word for key, word in same.items() if content.get(key) != head.get(key)]
    if other:
        print(f"{_name(experiment)}: started anew, for the record is of other {' and '.join(other)}")
        return {}
    return content.get("pieces", {})


if __name__ == "__main__":
    raise SystemExit(main())
