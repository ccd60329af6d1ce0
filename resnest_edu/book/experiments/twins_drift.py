"""How far do two networks of equal weights in the two layouts drift apart in training, where only rounding differs?

They see the same images in the same order, once in single and once in double precision. A seed decides the first
weights and the order.
"""

import copy
from functools import cache
from typing import Any

import torch
from torch import nn

from resnest_edu import Bottleneck, to_cardinality_major, to_radix_major
from resnest_edu.book.tiny_loop import figure_and_ground, fit

NEEDS_CUDA = False
SEEDS = range(20)
IMAGES, BATCH, EPOCHS = 240, 16, 2

scenes = cache(figure_and_ground)


def farthest(one: nn.Module, other: nn.Module) -> float:
    """The largest difference between two weights in the same place."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


def drift(dtype: torch.dtype, seed: int) -> tuple[float, float]:
    """Between the twins; between one of them and where it started."""
    torch.manual_seed(seed)
    start = nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1),
        Bottleneck(32, 8, radix=2, cardinality=2),
        nn.Conv2d(32, 2, 1),
    ).to(dtype)
    twins = copy.deepcopy(start), to_cardinality_major(start)
    images, targets = scenes(IMAGES)
    for twin in twins:
        fit(twin, images.to(dtype), targets, epochs=EPOCHS, peak=0.1, seed=seed, batch=BATCH)
    return farthest(twins[0], to_radix_major(twins[1])), farthest(twins[0], start)


def run_seed(seed: int) -> dict[str, Any]:
    """The largest difference of a weight: by training itself (in double precision), and between the twins."""
    double, training = drift(torch.double, seed)
    single, _ = drift(torch.float, seed)
    found = {"training itself": training, "single precision": single, "double precision": double}
    return {name: float(f"{value:.3g}") for name, value in found.items()}
