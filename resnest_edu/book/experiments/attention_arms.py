"""What helps in split attention: that there are splits, that they compete, or that their weights depend on the image?

A network with one block tells figure from ground, with four ways to weigh its splits. All have the same parameters, and
start from the same weights; a seed decides these, and the order of the images.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from resnest_edu import CardinalityMajorSplitAttention
from resnest_edu.book.experiments._one_block import CHANNELS, overlap_on_new_scenes, trained
from resnest_edu.split_attention import CardinalGroup

NEEDS_CUDA = False
SEEDS = range(40)


def gates(group: CardinalGroup, splits: list[Tensor]) -> list[Tensor]:
    """A sigmoid in place of the softmax: the splits do not compete."""
    context = torch.stack(splits).sum(dim=0).mean(dim=(2, 3), keepdim=True)
    logits = group.fc2(group.bn1(group.fc1(context)).relu())
    return list(logits.sigmoid().chunk(len(splits), dim=1))


def blind(group: CardinalGroup, splits: list[Tensor]) -> list[Tensor]:
    """The dense layers see a constant in place of the context."""
    return CardinalGroup.attention(group, [torch.ones_like(u) for u in splits])


def equal_shares(group: CardinalGroup, splits: list[Tensor]) -> list[Tensor]:
    """Every weight is 1/R; the dense layers are idle."""
    return [torch.full_like(u[:, :, :1, :1], 1 / len(splits)) for u in splits]


ARMS = {
    "attention": CardinalGroup.attention,
    "gates": gates,
    "blind": blind,
    "equal shares": equal_shares,
}


def with_weights(arm: Callable[[CardinalGroup, list[Tensor]], list[Tensor]]) -> nn.Module:
    """Split attention with R = K = 2 whose splits are weighed by ``arm``."""
    layer = CardinalityMajorSplitAttention(CHANNELS, CHANNELS, radix=2, cardinality=2)
    for group in layer.groups:
        group.attention = arm.__get__(group)  # the arm becomes its method
    return layer


def run_seed(seed: int) -> dict[str, Any]:
    """Overlap with the true figure, by arm."""
    return {
        "overlap": {
            name: round(overlap_on_new_scenes(trained(lambda arm=arm: with_weights(arm), seed)), 2)  # type: ignore[misc]
            for name, arm in ARMS.items()
        }
    }
