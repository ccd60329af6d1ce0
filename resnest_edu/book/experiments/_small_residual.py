"""What the experiments of the recipe's chapter train: six small residual blocks that tell figure from ground.

Legend: B batch, C channels, H height, W width.
"""

from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnest_edu.book.tiny_loop import figure_and_ground, overlap
from resnest_edu.training.average import MovingAverage
from resnest_edu.training.schedule import learning_rate

LONGER = {"gamma": 0.0, "warmup": 24, "peak": 0.8, "steps": 120}
"""Of :func:`train`, where a training should come further than its beginning."""


class Block(nn.Module):
    """``x`` plus a branch whose last batch norm starts with the scale ``gamma``. Shape: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int, gamma: float) -> None:
        super().__init__()
        last = nn.BatchNorm2d(channels)
        nn.init.constant_(last.weight, gamma)
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            last,
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.branch(x)).relu()


def build(gamma: float, channels: int = 16) -> nn.Module:
    """A stem that divides the sides by four, six blocks, and two classes for every position."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 4, stride=4, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        *(Block(channels, gamma) for _ in range(6)),
        nn.Conv2d(channels, 2, 1),
    )


@cache
def scenes(train: bool) -> tuple[Tensor, Tensor]:
    """Images and, at every fourth pixel, whether it is on the figure: 1,280 for training, 300 for the test."""
    images, figures = figure_and_ground(1280) if train else figure_and_ground(300, split="test")
    return images.contiguous(memory_format=torch.channels_last), figures[:, ::2, ::2]


class Trained(NamedTuple):
    """A network, the moving average of its weights if one was kept, and the loss of every step."""

    network: nn.Module
    average: nn.Module | None
    losses: list[float]


def train(
    seed: int,
    *,
    gamma: float,
    warmup: int,
    peak: float,
    steps: int = 80,
    batch: int = 16,
    smoothing: float = 0.0,
    falling: bool = True,
    decay: float | None = None,
) -> Trained:
    """Train one network. A seed means the same convolutions at the start and the same order, whatever else differs."""
    images, figures = scenes(train=True)
    torch.manual_seed(seed)
    network = build(gamma).to(memory_format=torch.channels_last)
    epochs = -(-steps * batch // len(images))
    order = torch.cat([torch.randperm(len(images)) for _ in range(epochs)])
    average = MovingAverage(network, decay) if decay else None
    optimizer = torch.optim.SGD(network.parameters(), 0, 0.9, nesterov=True, fused=True)
    losses = []
    for t in range(steps):
        rate = learning_rate(t, peak=peak, warmup_steps=warmup, total_steps=steps)
        if not falling and t >= warmup:
            rate = peak
        optimizer.param_groups[0]["lr"] = rate
        chosen = order[t * batch : (t + 1) * batch]
        loss = F.cross_entropy(network(images[chosen]), figures[chosen], label_smoothing=smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if average:
            average.update()
    return Trained(network.eval(), average.model.eval() if average else None, losses)


@torch.inference_mode()
def score(network: nn.Module) -> float:
    """Overlap of predicted and true figure on the test scenes, in per cent."""
    images, figures = scenes(train=False)
    return round(overlap(network(images).argmax(1), figures), 2)
