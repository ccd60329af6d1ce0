"""What does each block bring on photographs, in a small network at equal multiply-adds?

The comparison of ``ablation`` as far as a processor affords it: four of the contenders in the network of
``blocks_shapes``, five seeds, few epochs. A seed means the same order of the images and the same augmentation for all,
so the networks can be compared pair by pair; the runs of a seed are finished before those of the next begin. What
counts is the accuracy on the test images after the last epoch.

The rate was chosen beforehand, by another seed and three epochs, on 5,000 images of the training set that were held
back: ``base_rate`` 0.8 gave ``ResNet`` 71.5 % and ``2s1x`` 69.7, 1.6 gave them 70.3 and 69.7.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from resnest_edu.book.experiments import _cifar10
from resnest_edu.book.records import summarize as over_seeds
from resnest_edu.book.rivals import create_contender
from resnest_edu.book.side_by_side import side_by_side
from resnest_edu.data import decode
from resnest_edu.network.costs import multiply_adds, parameter_count
from resnest_edu.network.resnest import VARIANTS
from resnest_edu.training import Recipe, TensorImages, train

NEEDS_CUDA, NEEDS_DATA = False, True
KINDS = ("ResNet", "SE", "SK", "2s1x")
SEEDS = range(5)
RECIPE = Recipe(
    model="resnest11_small",
    image_size=32,
    epochs=4,
    batch_size=128,
    base_rate=0.8,
    warmup_epochs=0.5,
    weight_decay=5e-4,
    shift=4,
)
PIECES = tuple(f"{kind}, seed {seed}" for seed in SEEDS for kind in KINDS)


def run_pieces(names: Iterable[str], device: torch.device, data: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train once for each name, on the CPU, one on each core."""
    return side_by_side(partial(run_piece, data=data), names, processes=os.cpu_count() or 1)


def run_piece(name: str, *, data: Path) -> dict[str, Any]:
    """Train once; returns cost, and accuracy on the test images in per cent."""
    kind, seed = name.split(", seed ")
    torch.manual_seed(int(seed))
    model = create_contender(kind, len(_cifar10.CLASSES), VARIANTS[RECIPE.model])
    costs = {"parameters": parameter_count(model), "multiply_adds": multiply_adds(model, RECIPE.image_size)}
    history = train(model, *images(data), RECIPE, seed=int(seed), device=torch.device("cpu"), progress=False)
    return {**costs, "test_accuracy": round(100 * history[-1].score, 2)}


@cache
def images(data: Path) -> tuple[TensorImages, TensorImages]:
    """Training and test images."""
    splits = _cifar10.open_folder(data)
    train_data, test_data = (
        TensorImages(*decode(split, workers=1, progress=False)) for split in (splits.train, splits.test)
    )
    return train_data, test_data


def summarize(pieces: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """For each block: cost, the seeds' accuracies, their mean and deviation; and the recipe."""
    blocks = {}
    for kind in KINDS:
        runs = [pieces[f"{kind}, seed {seed}"] for seed in SEEDS]
        accuracies = [run["test_accuracy"] for run in runs]
        costs = {key: runs[0][key] for key in ("parameters", "multiply_adds")}
        blocks[kind] = {**costs, "test_accuracies": accuracies, "test_accuracy": over_seeds(accuracies)}
    return {"recipe": asdict(RECIPE), "seeds": list(SEEDS), "blocks": blocks}
