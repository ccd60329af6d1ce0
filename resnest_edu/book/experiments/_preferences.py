"""What a network's attention prefers, image by image, and what can be read off it. Two splits, one cardinal group.

Legend: N images, C channels, R = 2 splits, Y classes.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnest_edu.book.interventions import replaced_attention
from resnest_edu.split_attention import RadixMajorSplitAttention


def blocks_of(model: nn.Module) -> dict[str, RadixMajorSplitAttention]:
    """The blocks with split attention by name, one a stage in the small network."""
    return {name: module for name, module in model.named_modules() if isinstance(module, RadixMajorSplitAttention)}


@torch.no_grad()
def contexts(model: nn.Module, images: Tensor, *, averaging: bool = False) -> list[Tensor]:
    """What the attention of every stage reads: the mean over all positions of the splits' sum, (N, C) each.

    Where the network averages, what it reads is not used.
    """
    read: list[Tensor] = []
    hooks = [
        block.fc1.register_forward_pre_hook(lambda module, given: read.append(given[0].flatten(1)))
        for block in blocks_of(model).values()
    ]
    with replaced_attention(model, "uniform") if averaging else nullcontext():
        model(images)
    for hook in hooks:
        hook.remove()
    return read


@torch.no_grad()
def preference(block: RadixMajorSplitAttention, context: Tensor) -> Tensor:
    """By how much split 1 outweighs split 2 in every channel, D: (N, C) -> (N, C)."""
    # The context stands for a single split of a single position.
    attention = block.attention(context[:, None, :, None, None]).flatten(2)  # n r c
    return attention[:, 0] - attention[:, 1]


def preferences(model: nn.Module, read: list[Tensor]) -> list[Tensor]:
    """D of every stage, (N, C) each, from the contexts that :func:`contexts` returned."""
    return [preference(block, context) for block, context in zip(blocks_of(model).values(), read, strict=True)]


def class_means(d: Tensor, labels: Tensor) -> Tensor:
    """The mean of every class, minus the mean of all: (N, C) -> (Y, C)."""
    return torch.stack([d[labels == label].mean(0) for label in labels.unique()]) - d.mean(0)


def share_between_classes(d: Tensor, labels: Tensor) -> float:
    """Of the movement from image to image, all channels together, the share that lies between classes."""
    total = (d - d.mean(0)).square().sum()
    count = torch.bincount(labels)[:, None]
    return ((count * class_means(d, labels).square()).sum() / total).item()


def read_off(d: Tensor, labels: Tensor, ridge: float = 10) -> float:
    """How often a ridge regression, fitted on the first half of the images, tells the class of the second half."""
    half = len(labels) // 2
    d = (d - d[:half].mean(0)) / d[:half].std(0).clamp(min=1e-6)
    targets = F.one_hot(labels[:half]).float()
    gram = d[:half].T @ d[:half] + ridge * torch.eye(d.shape[1])
    weights = torch.linalg.solve(gram, d[:half].T @ (targets - targets.mean(0)))
    scores = d[half:] @ weights + targets.mean(0)
    return (scores.argmax(1) == labels[half:]).float().mean().item()
