"""What does each part of ResNeSt add? The component table of the paper (arXiv:2004.08955), in miniature.

From a plain ResNet to a ResNeSt, one step after another: mixup, an augmentation policy (RandAugment, as in the released
PyTorch code), split attention with the pool before it, and the pool moved behind it. Each from the same seeds, on
CIFAR-10, side by side.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from resnest_edu.book.experiments._runs import Build, Figures, Job, over_seeds, run_jobs, settings
from resnest_edu.book.rivals import REFERENCE, create_contender, equal_cost_base_width
from resnest_edu.network.resnest import ResNeSt
from resnest_edu.training import Recipe, get_recipe

NEEDS_CUDA = NEEDS_DATA = True
SEEDS = range(5)
SIDE_BY_SIDE = 8
BASE = replace(get_recipe("cifar10-quick"), epochs=16, warmup_epochs=2.0)
MIXUP = replace(BASE, mixup=0.2)
POLICY = replace(MIXUP, policy="randaugment")
PLAIN = partial(create_contender, "ResNet")
SPLIT = partial(create_contender, "2s1x")


def pool_after(num_classes: int) -> ResNeSt:
    """The contender with split attention, but the pool of each stage moved behind it: costlier, as in the paper."""
    base_width = equal_cost_base_width("2s1x")
    return ResNeSt(replace(REFERENCE, radix=2, base_width=base_width, pool_first=False), num_classes)


STEPS: dict[str, tuple[Build, Recipe]] = {
    "ResNet": (PLAIN, BASE),
    "+ mixup": (PLAIN, MIXUP),
    "+ RandAugment": (PLAIN, POLICY),
    "+ split attention": (SPLIT, POLICY),
    "+ pool after the 3×3": (pool_after, POLICY),
}
"""The network and the recipe after each step."""
JOBS = {
    name: Job(name, *job, seed) for seed in SEEDS for step, job in STEPS.items() for name in [f"{step}, seed {seed}"]
}
PIECES = tuple(JOBS)


def run_pieces(names: Iterable[str], device: torch.device, data: Path) -> Iterator[tuple[str, Figures]]:
    """Train once for each name; see :func:`resnest_edu.book.experiments._runs.run_jobs`."""
    return run_jobs(names, JOBS, device, data, processes=SIDE_BY_SIDE)


def summarize(pieces: Mapping[str, Figures]) -> dict[str, Any]:
    """For each step: the recipe, what the network costs, and the accuracy: by seed, its mean and deviation."""
    steps = {}
    for step, (_, recipe) in STEPS.items():
        runs = [pieces[f"{step}, seed {seed}"] for seed in SEEDS]
        steps[step] = {
            **{key: runs[0][key] for key in ("parameters", "multiply_adds")},
            **over_seeds(runs, ("test_accuracy", "seconds")),
            "test_accuracies": [run["test_accuracy"] for run in runs],
            "recipe": settings(recipe),
        }
    return {"side_by_side": SIDE_BY_SIDE, "seeds": list(SEEDS), "steps": steps}
