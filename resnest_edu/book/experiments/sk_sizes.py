"""Does the attention of selective kernels follow the size of what is looked at, and does accuracy depend on it?

A small network of three SK blocks learns to tell four shapes apart. Then the objects of the test scenes are enlarged,
and each channel's *preference* is measured: its attention on the large kernel minus that on the small one, averaged
over the scenes. Beside the trained network stand the untrained one, with the same first weights; the trained one with
its attention frozen; and a linear classifier of the pixels. The seed decides the weights and the order of the scenes.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from resnest_edu import SelectiveKernel
from resnest_edu.book.tiny_loop import fit
from resnest_edu.data import SHAPE_CLASSES, TEST_START, SceneConfig, draw_scenes
from resnest_edu.training.augmentation import normalize

NEEDS_CUDA = False
SEEDS = range(12)
SHAPES = ("ring", "square", "triangle", "cross")
FACTORS = (1.0, 1.25, 1.5, 1.75, 2.0)  # by which the test objects are enlarged
TRAIN, TEST = 3000, 400  # scenes, of which those of the four shapes are kept: about half
AVERAGED = 400  # training scenes over which attention is averaged when it is frozen


class Watched(SelectiveKernel):
    """A block whose attention can be read off, as ``latest``, and frozen."""

    frozen: Tensor | None = None
    latest: Tensor

    def attention(self, splits: Tensor) -> Tensor:
        free = super().attention(splits)
        used = free if self.frozen is None else self.frozen
        self.latest = used.detach()
        return used


class Block(nn.Module):
    """An SK block and a 1×1 convolution, with a shortcut around them."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.select = Watched(in_channels, channels, groups=4, min_width=8, stride=stride)
        self.mix = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(stride),
            nn.Conv2d(in_channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return (self.shortcut(x) + self.mix(self.select(x))).relu()


def build(seed: int) -> nn.Sequential:
    """The network with the first weights of ``seed``."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Block(16, 16),
        Block(16, 32, stride=2),
        Block(32, 64, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, len(SHAPES)),
    )
    return network.to(memory_format=torch.channels_last)


def draw(start: int, count: int, scale: tuple[float, float], enlarge: float = 1.0) -> tuple[Tensor, Tensor]:
    """Scenes of the four shapes, uint8 (N, 3, 32, 32), and which shape it is; ``scale`` is the object's diameter as a
    share of the picture's side.
    """
    config = SceneConfig(scale=scale, enlarge=enlarge, clutter=0, occlusion=0)
    scenes = draw_scenes(start, count, config=config)
    kinds = torch.tensor([SHAPE_CLASSES.index(name) for name in SHAPES])
    labels = torch.from_numpy(scenes.labels)
    kept = torch.isin(labels, kinds)
    return torch.from_numpy(scenes.images)[kept], torch.searchsorted(kinds, labels[kept])


@cache
def train_scenes() -> tuple[Tensor, Tensor]:
    """Normalized, objects of every size; with labels."""
    pictures, labels = draw(0, TRAIN, scale=(0.3, 0.9))
    return normalize(pictures), labels


@cache
def test_scenes() -> tuple[list[Tensor], Tensor]:
    """Normalized, the same scenes once for each of ``FACTORS``; with labels."""
    drawn = [draw(TEST_START, TEST, scale=(0.3, 0.45), enlarge=factor) for factor in FACTORS]
    return [normalize(pictures) for pictures, _ in drawn], drawn[0][1]


def selectors(network: nn.Module) -> list[Watched]:
    return [module for module in network.modules() if isinstance(module, Watched)]


@torch.inference_mode()
def preferences(network: nn.Module) -> list[Tensor]:
    """For every layer, (sizes, channels)."""
    layers: list[list[Tensor]] = [[] for _ in selectors(network)]
    for batch in test_scenes()[0]:
        network(batch)
        for layer, block in zip(layers, selectors(network), strict=True):
            small, large = block.latest.flatten(2).unbind(1)  # b c
            layer.append((large - small).mean(dim=0))
    return [torch.stack(layer) for layer in layers]


@torch.inference_mode()
def accuracies(network: nn.Module) -> list[float]:
    """In per cent, at each of ``FACTORS``."""
    test_images, labels = test_scenes()
    return [round(100 * (network(batch).argmax(1) == labels).double().mean().item(), 2) for batch in test_images]


@torch.inference_mode()
def freeze(network: nn.Module) -> None:
    """From now on every channel keeps its mean attention, whatever the image."""
    network(train_scenes()[0][:AVERAGED])
    for block in selectors(network):
        block.frozen = block.latest.mean(dim=0, keepdim=True)


@torch.no_grad()
def settle(network: nn.Module) -> nn.Module:
    """Let the training scenes pass once, so that batch norm has its statistics and nothing else is learnt."""
    for batch in train_scenes()[0].split(64):
        network(batch)
    return network.eval()


def changes(network: nn.Module) -> dict[str, list[list[float]]]:
    """By layer and size, how far the preference lies from that at the first size: the channels' mean ("net"), and the
    mean of what is left without its sign ("moved").
    """
    layers = [layer - layer[:1] for layer in preferences(network)]
    return {
        "net": [[round(value, 4) for value in layer.mean(dim=1).tolist()] for layer in layers],
        "moved": [[round(value, 4) for value in layer.abs().mean(dim=1).tolist()] for layer in layers],
    }


def run_seed(seed: int) -> dict[str, Any]:
    """Changes of the preference, untrained and trained; accuracies with attention free and frozen, and of pixels."""
    images, labels = train_scenes()
    untrained = changes(settle(build(seed)))
    network = build(seed)
    fit(network, images, labels, epochs=4, peak=0.1, seed=seed, batch=32)
    trained = changes(network)
    accuracy = {"free": accuracies(network)}
    freeze(network)
    accuracy["frozen"] = accuracies(network)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, len(SHAPES)))
    fit(linear, images, labels, epochs=5, peak=0.003, seed=seed)
    return {"untrained": untrained, "trained": trained, "accuracy": {**accuracy, "linear": accuracies(linear)}}
