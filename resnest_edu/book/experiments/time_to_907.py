"""How many seconds does a small ResNeSt train on one GPU until 90.7 % of CIFAR-10's test images are right?

That is what airbench94, a network tuned for the speed record, reaches at its end on the JPEG copy. The recipe
``cifar10-quick``, measured after every epoch; the seconds are those of all epochs up to the first that is at or above
90.7 %, the measurements included. Compiling is not counted, nor reading the images. One run after another, with nothing
beside them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from resnest_edu.book.experiments._runs import Figures, Job, over_seeds, run_jobs
from resnest_edu.book.records import summarize as mean_and_deviation
from resnest_edu.training import get_recipe

NEEDS_CUDA = NEEDS_DATA = True
TARGET = 0.907
RECIPE = get_recipe("cifar10-quick")
JOBS = {name: Job(name, RECIPE.build, RECIPE, seed, alone=True) for seed in range(5) for name in [f"seed {seed}"]}
PIECES = tuple(JOBS)


def run_pieces(names: Iterable[str], device: torch.device, data: Path) -> Iterator[tuple[str, Figures]]:
    """Train once for each name, and look when the target was reached; None if it was not."""
    for name, figures in run_jobs(names, JOBS, device, data, processes=1):
        yield name, {**figures, **reached(figures["epochs"])}


def reached(epochs: list[dict[str, float]]) -> dict[str, float | None]:
    """After which epoch the target was reached, and after how many seconds; None if it was not."""
    for number, epoch in enumerate(epochs, start=1):
        if epoch["test_accuracy"] >= TARGET:
            return {"target_epoch": number, "target_seconds": sum(one["seconds"] for one in epochs[:number])}
    return {"target_epoch": None, "target_seconds": None}


def summarize(pieces: Mapping[str, Figures]) -> dict[str, Any]:
    """Seconds to the target over the runs that reached it, and how many those are; the accuracy at the end."""
    seconds = [figures["target_seconds"] for figures in pieces.values() if figures["target_seconds"] is not None]
    return {
        "recipe": asdict(RECIPE),
        "target": TARGET,
        "reached": len(seconds),
        "runs": len(pieces),
        # A mean over the lucky runs alone would flatter.
        "target_seconds": mean_and_deviation(seconds) if len(seconds) == len(pieces) else None,
        **over_seeds(pieces.values(), ["test_accuracy"]),
    }
