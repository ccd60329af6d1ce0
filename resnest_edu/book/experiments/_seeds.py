"""The seeds of an experiment, one on each core. Not in ``__main__``, which a new process does not know by that name."""

import importlib
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from resnest_edu.book.side_by_side import side_by_side


def run_seeds(
    module: str, seeds: Iterable[str], device: torch.device, data: Path | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Call the module's ``run_seed`` for every seed, on the CPU; pairs in the order in which they are finished."""
    yield from side_by_side(partial(_run_seed, module), seeds, processes=os.cpu_count() or 1)


def _run_seed(module: str, seed: str) -> dict[str, Any]:
    figures: dict[str, Any] = importlib.import_module(module).run_seed(int(seed))
    return figures
