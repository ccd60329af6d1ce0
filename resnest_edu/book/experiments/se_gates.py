"""Does a gate help because it looks at the image, or because it adds layers? Three networks that differ in nothing else
tell figure from ground: without gates, with the gates of SE, and with gates that are blind.

Since the best learning rate need not be the same for the three, each is trained at several. The seed decides the
weights and the order of the scenes.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from resnest_edu import SqueezeExcitation
from resnest_edu.book.tiny_loop import figure_and_ground, fit, overlap

NEEDS_CUDA = False
SEEDS = range(12)
PEAKS = (0.1, 0.2, 0.4, 0.8)  # of the learning rate
TRAIN, TEST = 1280, 500  # scenes


class BlindGate(SqueezeExcitation):
    """A gate, parameter for parameter, that is given ones instead of the features."""

    def gate(self, x: Tensor) -> Tensor:
        return super().gate(torch.ones_like(x))


class Block(nn.Module):
    """A residual block: ``gate`` stands at the end of its branch."""

    def __init__(self, channels: int, gate: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            gate,
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.branch(x)).relu()


GATES: dict[str, Callable[[int], nn.Module]] = {
    "no gate": lambda channels: nn.Identity(),
    "gate": lambda channels: SqueezeExcitation(channels, reduction=4),
    "blind gate": lambda channels: BlindGate(channels, reduction=4),
}


def build(arm: str, channels: int = 24) -> nn.Sequential:
    """The network of one of ``GATES``: two logits at half the resolution."""
    network = nn.Sequential(
        nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        *(Block(channels, GATES[arm](channels)) for _ in range(2)),
        nn.Conv2d(channels, 2, 1),
    )
    return network.to(memory_format=torch.channels_last)


@cache
def scenes() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The scenes to train on, with their targets, and those of the test."""
    return figure_and_ground(TRAIN), figure_and_ground(TEST, split="test")


def trained(arm: str, peak: float, seed: int) -> nn.Sequential:
    """The network of one arm after three passes over the scenes."""
    torch.manual_seed(seed)
    network = build(arm)
    fit(network, *scenes()[0], epochs=3, peak=peak, seed=seed)
    return network


@torch.inference_mode()
def score(network: nn.Module) -> float:
    """The overlap of the predicted with the true figures on the test scenes, in per cent."""
    images, targets = scenes()[1]
    return overlap(network(images).argmax(1), targets)


def run_seed(seed: int) -> dict[str, Any]:
    """The overlap by arm, at each of ``PEAKS`` in their order."""
    return {arm: [round(score(trained(arm, peak, seed)), 2) for peak in PEAKS] for arm in GATES}
