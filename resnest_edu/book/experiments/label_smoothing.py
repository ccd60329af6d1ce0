"""Does label smoothing keep a network from being surer than it is right?

A small residual network is trained with and without it, from the same start, on the same scenes in the same order.
"""

from typing import Any

import torch
from torch import nn

from resnest_edu.book.experiments._small_residual import LONGER, scenes, train

NEEDS_CUDA = False
SEEDS = range(30)
EPSILONS = (0.0, 0.1)


def run_seed(seed: int) -> dict[str, dict[str, float]]:
    """By ε, how sure the network is on new scenes and how often it is right, in per cent."""
    options: dict[str, Any] = LONGER
    return {str(epsilon): sure_and_right(train(seed, smoothing=epsilon, **options).network) for epsilon in EPSILONS}


@torch.inference_mode()
def sure_and_right(network: nn.Module) -> dict[str, float]:
    """The mean of the larger probability, and the share of positions where it is that of the truth."""
    images, figures = scenes(train=False)
    largest, predicted = network(images).softmax(1).max(1)
    right = (predicted == figures).float().mean()
    return {"sure": round(100 * largest.mean().item(), 2), "right": round(100 * right.item(), 2)}
