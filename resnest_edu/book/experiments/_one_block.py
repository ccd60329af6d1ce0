"""What the experiments on a single block share: the smallest network around it, and its training on figure and ground.

Legend: B batch, C channels, H height, W width.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from resnest_edu.book.tiny_loop import figure_and_ground, fit, overlap

CHANNELS = 24
TRAIN, TEST, EPOCHS = 960, 500, 3

scenes = cache(figure_and_ground)


class Block(nn.Module):
    """A bottleneck without its first convolution. Shape: (B, C, H, W) -> the same."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            middle,
            nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False),
            nn.BatchNorm2d(CHANNELS),
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.branch(x)).relu()


def one_block(middle: Callable[[], nn.Module]) -> nn.Sequential:
    """Without a look at the whole image, it sees 7 × 7 pixels. Shape: (B, 3, H, W) -> (B, 2, H/2, W/2)."""
    return nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
        Block(middle()),
        nn.Conv2d(CHANNELS, 2, 1),
    )


def trained(middle: Callable[[], nn.Module], seed: int) -> nn.Module:
    """The seed decides the first weights and the order of the images."""
    torch.manual_seed(seed)
    network = one_block(middle)
    fit(network, *scenes(TRAIN), epochs=EPOCHS, peak=0.6, seed=seed)
    return network


def overlap_on_new_scenes(network: nn.Module) -> float:
    """Intersection over union of the predicted with the true figure on new scenes, in per cent."""
    images, targets = scenes(TEST, split="test")
    with torch.inference_mode():
        return overlap(network(images).argmax(1), targets)
