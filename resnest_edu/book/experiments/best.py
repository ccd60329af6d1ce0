"""How well does one small ResNeSt do on CIFAR-10 in at most two minutes of training on one GPU?

The recipe ``cifar10``, from several seeds, one after another with nothing beside them, since the time counts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from resnest_edu.book.experiments._runs import Figures, Job, over_seeds, run_jobs
from resnest_edu.training import get_recipe

NEEDS_CUDA = NEEDS_DATA = True
TARGETS = {"test_accuracy": 0.92, "seconds": 120.0}
RECIPE = get_recipe("cifar10")
JOBS = {name: Job(name, RECIPE.build, RECIPE, seed, alone=True) for seed in range(3) for name in [f"seed {seed}"]}
PIECES = tuple(JOBS)


def run_pieces(names: Iterable[str], device: torch.device, data: Path) -> Iterator[tuple[str, Figures]]:
    """Train once for each name; see :func:`resnest_edu.book.experiments._runs.run_jobs`."""
    return run_jobs(names, JOBS, device, data, processes=1)


def summarize(pieces: Mapping[str, Figures]) -> dict[str, Any]:
    """Accuracy and seconds over the seeds, and whether their means keep to the targets."""
    keys = ("test_accuracy", "seconds", "preparation_seconds", "images_per_second")
    found = over_seeds(pieces.values(), keys)
    accurate = found["test_accuracy"]["mean"] >= TARGETS["test_accuracy"]
    quick = found["seconds"]["mean"] <= TARGETS["seconds"]
    return {"recipe": asdict(RECIPE), **found, "targets": {**TARGETS, "met": accurate and quick}}
