"""Do more paths help at equal cost? Three small classifiers of drawn shapes, of 1, 4 and 32 paths, whose width is such
that their blocks have equally many weights.

Everything but the paths is the same for the three; the seed decides the weights and the order of the pictures.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from resnest_edu.blocks.resnext import GroupedBottleneck, equal_cost_width
from resnest_edu.book.tiny_loop import fit
from resnest_edu.data import ShapesDataset
from resnest_edu.training.augmentation import normalize

NEEDS_CUDA = False
SEEDS = range(30)
CHANNELS = 64
BUDGET = 64 * 16 + 9 * 16**2 + 16 * 64  # weights of one path as wide as a quarter of the channels
CARDINALITIES = (1, 4, 32)
PEAK = 0.1  # of the learning rate
TRAIN, TEST = 2560, 1000  # pictures


def build(cardinality: int) -> nn.Sequential:
    """A strided convolution, two blocks, an average and a dense layer."""
    width = equal_cost_width(CHANNELS, cardinality, BUDGET)
    network = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 5, stride=4, padding=2, bias=False),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
        *(GroupedBottleneck(CHANNELS, CHANNELS, cardinality=cardinality, width=width) for _ in range(2)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(CHANNELS, len(ShapesDataset.classes)),
    )
    return network.to(memory_format=torch.channels_last)


@cache
def pictures() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Normalized pictures with their labels: those to train on, and those of the test."""
    (images, labels), (test_images, test_labels) = (
        ShapesDataset(TRAIN).tensors(),
        ShapesDataset(TEST, split="test").tensors(),
    )
    return (normalize(images), labels), (normalize(test_images), test_labels)


def accuracy(cardinality: int, seed: int) -> float:
    """On the test pictures, in per cent, after three passes over the others."""
    (images, labels), (test_images, test_labels) = pictures()
    torch.manual_seed(seed)
    network = build(cardinality)
    fit(network, images, labels, epochs=3, peak=PEAK, seed=seed)
    with torch.inference_mode():
        right = network(test_images).argmax(1) == test_labels
    return 100 * right.double().mean().item()


def run_seed(seed: int) -> dict[str, Any]:
    """The accuracy by cardinality."""
    return {str(cardinality): round(accuracy(cardinality, seed), 2) for cardinality in CARDINALITIES}
