"""The contenders of a fair comparison: one network at one cost, with another layer in the middle of its blocks.

Stem, stages, shortcuts, pooling, initialisation and head are the code of :class:`~resnest_edu.ResNeSt`; the middles are
the modules of the book's chapters. Whoever has the costlier middle gets the narrower one, so that all spend the same
multiply-adds.

Legend: R radix, K cardinality. A middle reads and writes the block's inner width.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from resnest_edu.arguments import require_one_of
from resnest_edu.blocks.resnext import equal_cost_width
from resnest_edu.blocks.selective_kernel import SelectiveKernel
from resnest_edu.blocks.squeeze_excitation import SqueezeExcitation
from resnest_edu.network.bottleneck import EXPANSION, Bottleneck
from resnest_edu.network.costs import multiply_adds
from resnest_edu.network.resnest import VARIANTS, ResNeSt, Variant

REFERENCE = VARIANTS["resnest20_cifar"]
"""The variant that fixes everything but the middle, and by its ``base_width`` what all of them may cost, unless another
is named."""
IMAGE_SIZE = 32
"""The side, in pixels, of the images at which the costs are equal."""


class PlainBottleneck(Bottleneck):
    """A bottleneck with a 3×3 convolution, batch norm and ReLU in its middle: that of ResNet (arXiv:1512.03385), and
    with K > 1 groups that of ResNeXt (arXiv:1611.05431). Arguments, shapes and errors are those of
    :class:`~resnest_edu.Bottleneck`; there are no splits, so R does nothing.
    """

    def middle(self, width: int, radix: int, cardinality: int, dilation: int) -> nn.Module:
        """Shape: (B, width, H, W) -> (B, width, H, W)."""
        conv = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=cardinality, bias=False)
        norm = nn.BatchNorm2d(width)
        return nn.Sequential(OrderedDict(conv=conv, bn0=norm, relu=nn.ReLU()))


class SqueezeExcitationBottleneck(PlainBottleneck):
    """The plain bottleneck with squeeze-and-excitation (r = 16) on what its branch emits, as in SE-ResNet
    (arXiv:1709.01507, figure 3).
    """

    def __init__(self, in_channels: int, planes: int, **options: Any) -> None:
        super().__init__(in_channels, planes, **options)
        self.se = SqueezeExcitation(EXPANSION * planes)

    def branch(self, x: Tensor) -> Tensor:
        """Shape: (B, in_channels, H, W) -> (B, 4 · planes, H', W')."""
        return self.se(super().branch(x))


class SelectiveKernelBottleneck(Bottleneck):
    """A bottleneck with the selective kernel of SKNet-50 in its middle: M = 2 branches, r = 16, L = 32
    (arXiv:1903.06586), and K groups, as many as ResNeXt has, as in its paper. Its branches are 3×3 and 5×5, so R and
    the dilation do nothing.
    """

    def middle(self, width: int, radix: int, cardinality: int, dilation: int) -> nn.Module:
        """Shape: (B, width, H, W) -> (B, width, H, W)."""
        return SelectiveKernel(width, width, groups=cardinality)


@dataclass(frozen=True)
class Kind:
    """What sets a contender apart.

    Attributes:
        block: the class of its blocks.
        radix: R, of split attention.
        cardinality: K, the groups of the middle's convolutions.
    """

    block: type[Bottleneck] = Bottleneck
    radix: int = 1
    cardinality: int = 1


# The papers' 32 groups would leave the first stage 2 channels in a group, and 8 groups no width within 3 % of the
# reference's cost. 4 groups (4x24d) are in ResNeXt's own series of equal cost, and tell it from 1s4x by nothing but the
# attention.
CONTENDERS: dict[str, Kind] = {
    "ResNet": Kind(PlainBottleneck),
    "ResNeXt": Kind(PlainBottleneck, cardinality=4),
    "SE": Kind(SqueezeExcitationBottleneck),
    "SK": Kind(SelectiveKernelBottleneck, cardinality=4),
    "1s1x": Kind(radix=1),
    "2s1x": Kind(radix=2),
    "4s1x": Kind(radix=4),
    "2s2x": Kind(radix=2, cardinality=2),
    "1s4x": Kind(radix=1, cardinality=4),
}
"""The kinds by name, in the order of the chapters; ``2s1x`` is split attention with R = 2 and K = 1."""


class Contender(ResNeSt):
    """The network of a reference with blocks of another kind.

    Shape: (B, 3, H, W) -> (B, num_classes) logits.

    Args:
        kind: one of the values of :data:`CONTENDERS`, or another.
        base_width: channels of one group of the middle where ``planes`` is 64.
        num_classes: outputs of the last layer.
        reference: the variant that fixes all the rest.

    Raises:
        ValueError: as in :class:`~resnest_edu.ResNeSt`.
    """

    def __init__(self, kind: Kind, base_width: int, num_classes: int = 1000, reference: Variant = REFERENCE) -> None:
        variant = replace(reference, radix=kind.radix, cardinality=kind.cardinality, base_width=base_width)
        super().__init__(variant, num_classes, block=kind.block)


@cache
def _cost(kind: Kind, base_width: int, reference: Variant = REFERENCE) -> int:
    with torch.device("meta"):
        return multiply_adds(Contender(kind, base_width, reference=reference), IMAGE_SIZE)


@cache
def equal_cost_base_width(name: str, reference: Variant = REFERENCE) -> int:
    """The ``base_width`` at which a contender costs most nearly what plain ResNet does at that of the reference.

    The search goes down from what ResNeXt's law of constant cost gives
    (:func:`~resnest_edu.blocks.resnext.equal_cost_width`) for K groups: whatever else a middle has, it costs more.

    Args:
        name: one of :data:`CONTENDERS`.
        reference: the variant that fixes everything but the middle, and what all may cost.

    Raises:
        ValueError: ``name`` is unknown.
    """
    require_one_of("name", name, CONTENDERS)
    kind, of_reference = CONTENDERS[name], reference.base_width
    target = _cost(CONTENDERS["ResNet"], of_reference, reference)
    outside = EXPANSION * 64  # where planes are 64
    weights = 2 * outside * of_reference + 9 * of_reference**2
    gaps: dict[int, int] = {}
    for base_width in range(equal_cost_width(outside, kind.cardinality, weights), 0, -1):
        try:
            cost = _cost(kind, base_width, reference)
        except ValueError:  # R · K groups do not divide the widths
            continue
        gaps[base_width] = abs(cost - target)
        if cost <= target:
            break
    return min(gaps, key=gaps.__getitem__)


def create_contender(name: str, num_classes: int = 1000, reference: Variant = REFERENCE) -> Contender:
    """Build a contender with fresh weights, of the same cost as all the others.

    Args:
        name: one of :data:`CONTENDERS`.
        num_classes: outputs of the last layer.
        reference: the variant that fixes everything but the middle, and what all may cost.

    Raises:
        ValueError: ``name`` is unknown, or ``num_classes`` is not an integer of at least 0.
    """
    base_width = equal_cost_base_width(name, reference)
    return Contender(CONTENDERS[name], base_width, num_classes, reference)
