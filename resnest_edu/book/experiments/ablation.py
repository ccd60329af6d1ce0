"""Which block is the most accurate at equal cost?

Networks that differ in their blocks alone, at equal multiply-adds, are trained on CIFAR-10 by one recipe, each from the
same seeds: a seed means the same order of the images and the same augmentation for all of them, so they can be compared
pair by pair. The runs of a seed are finished before those of the next begin, more or less, so a record that is not yet
complete is fair too. They run side by side, so their seconds tell little; at the end each network is trained for a
moment alone, to see how fast that goes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from resnest_edu.book.experiments._runs import Figures, Job, cost, over_seeds, run_jobs, settings
from resnest_edu.book.rivals import CONTENDERS, create_contender
from resnest_edu.training import get_recipe

NEEDS_CUDA = NEEDS_DATA = True
SEEDS = range(5)
SIDE_BY_SIDE = 8
TOLERANCE = 0.03
"""By how much the multiply-adds of a network may differ from those of the first."""
RECIPE = replace(get_recipe("cifar10-quick"), epochs=16, warmup_epochs=2.0)
BUILD = {contender: partial(create_contender, contender) for contender in CONTENDERS}
JOBS = {
    **{
        name: Job(name, build, RECIPE, seed)
        for seed in SEEDS
        for contender, build in BUILD.items()
        for name in [f"{contender}, seed {seed}"]
    },
    **{
        name: Job(name, build, RECIPE, speed_only=True, alone=True)
        for contender, build in BUILD.items()
        for name in [f"{contender}, speed"]
    },
}
PIECES = tuple(JOBS)


def run_pieces(names: Iterable[str], device: torch.device, data: Path) -> Iterator[tuple[str, Figures]]:
    """Train once for each name; see :func:`resnest_edu.book.experiments._runs.run_jobs`.

    Raises:
        ValueError: the multiply-adds are not equal enough.
    """
    require_equal_cost({contender: cost(build, RECIPE.image_size) for contender, build in BUILD.items()})
    return run_jobs(names, JOBS, device, data, processes=SIDE_BY_SIDE)


def require_equal_cost(costs: Mapping[str, Mapping[str, int]]) -> None:
    """Raise ValueError unless all multiply-adds are within the tolerance of the first one's."""
    first = next(iter(costs.values()))["multiply_adds"]
    for contender, found in costs.items():
        if abs(found["multiply_adds"] - first) > TOLERANCE * first:
            raise ValueError(
                f"multiply-adds of {contender} (={found['multiply_adds']:,}) must be within {100 * TOLERANCE:g} % of "
                f"{first:,}"
            )


def summarize(pieces: Mapping[str, Figures]) -> dict[str, Any]:
    """For each network: parameters, multiply-adds, accuracies in the order of the seeds, their mean and deviation, and
    images a second when it trains alone."""
    networks = {}
    for contender in BUILD:
        runs = [pieces[f"{contender}, seed {seed}"] for seed in SEEDS]
        networks[contender] = {
            **{key: runs[0][key] for key in ("parameters", "multiply_adds")},
            **over_seeds(runs, ("test_accuracy", "seconds")),
            "test_accuracies": [run["test_accuracy"] for run in runs],
            "images_per_second": pieces[f"{contender}, speed"]["images_per_second"],
        }
    return {"recipe": settings(RECIPE), "side_by_side": SIDE_BY_SIDE, "seeds": list(SEEDS), "networks": networks}
