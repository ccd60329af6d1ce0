"""The ResNeXt bottleneck in its three equivalent forms, the maps between their weights, and the law of constant cost.

Legend: B batch, K cardinality (paths; the paper writes C), d width (channels of one path), H and W height and width.
"""

import math
import re
from collections import OrderedDict
from typing import TypeVar

import torch
from torch import Tensor, nn

from resnest_edu.arguments import require_positive_int
from resnest_edu.take_over import take_over


class ResNeXtBottleneck(nn.Module):
    """What the three forms of the bottleneck have in common: arguments and shortcut.

    The shortcut is the identity where input and output have the same shape, else a 1×1 convolution with batch norm. No
    convolution has a bias.

    Shape: (B, in_channels, H, W) -> (B, out_channels, H', W'), H' = ceil(H / stride).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        cardinality: K, the number of paths.
        width: d, the channels of one path.
        stride: stride of the 3×3 convolutions and of the shortcut.

    Raises:
        ValueError: an argument is not a positive integer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        cardinality: int = 32,
        width: int = 4,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.arguments = {"in_channels": in_channels, "out_channels": out_channels}
        self.arguments |= {"cardinality": cardinality, "width": width}
        self.arguments |= {"stride": stride}
        require_positive_int(**self.arguments)
        self.cardinality, self.width, self.stride = cardinality, width, stride

    def shortcut(self, in_channels: int, out_channels: int) -> nn.Module:
        if in_channels == out_channels and self.stride == 1:
            return nn.Identity()
        projection = nn.Conv2d(in_channels, out_channels, 1, self.stride, bias=False)
        return nn.Sequential(projection, nn.BatchNorm2d(out_channels))


def narrow_path(in_channels: int, width: int, stride: int) -> nn.Sequential:
    """How a path begins: 1×1 to d channels and 3×3, each with batch norm and ReLU."""
    layers = OrderedDict(
        conv1=nn.Conv2d(in_channels, width, 1, bias=False),
        bn1=nn.BatchNorm2d(width),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(width, width, 3, stride, padding=1, bias=False),
        bn2=nn.BatchNorm2d(width),
        relu2=nn.ReLU(),
    )
    return nn.Sequential(layers)


class AggregatedBottleneck(ResNeXtBottleneck):
    """The bottleneck as a sum of K paths (Xie et al., arXiv:1611.05431, 3a).

    Each path is 1×1, 3×3, 1×1. Batch norm is applied to their sum, not to each.
    """

    def __init__(self, in_channels: int, out_channels: int, **options: int) -> None:
        super().__init__(in_channels, out_channels, **options)
        self.paths = nn.ModuleList()
        for _ in range(self.cardinality):
            path = narrow_path(in_channels, self.width, self.stride)
            conv3 = nn.Conv2d(self.width, out_channels, 1, bias=False)
            path.add_module("conv3", conv3)
            self.paths.append(path)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = self.shortcut(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        aggregated = sum(path(x) for path in self.paths)
        return (self.bn3(aggregated) + self.downsample(x)).relu()


class EarlyConcatenationBottleneck(ResNeXtBottleneck):
    """The bottleneck with early concatenation (Xie et al., arXiv:1611.05431, 3b).

    Each of K paths is 1×1, 3×3; a single 1×1 follows on their concatenation.
    """

    def __init__(self, in_channels: int, out_channels: int, **options: int) -> None:
        super().__init__(in_channels, out_channels, **options)
        self.paths = nn.ModuleList()
        for _ in range(self.cardinality):
            self.paths.append(narrow_path(in_channels, self.width, self.stride))
        inner = self.cardinality * self.width
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = self.shortcut(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        concatenated = torch.cat([path(x) for path in self.paths], dim=1)
        return (self.bn3(self.conv3(concatenated)) + self.downsample(x)).relu()


class GroupedBottleneck(ResNeXtBottleneck):
    """The bottleneck as grouped convolution (Xie et al., arXiv:1611.05431, 3c).

    1×1, 3×3 in K groups, 1×1. The parameters have the names, order and shapes of torchvision's bottleneck, whose
    weights load strictly.
    """

    def __init__(self, in_channels: int, out_channels: int, **options: int) -> None:
        super().__init__(in_channels, out_channels, **options)
        groups = self.cardinality
        inner = groups * self.width
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(
            inner,
            inner,
            3,
            stride=self.stride,
            padding=1,
            groups=groups,
            bias=False,
        )
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = self.shortcut(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn1(self.conv1(x)).relu()  # b (k d) h w
        branch = self.bn2(self.conv2(branch)).relu()
        return (self.bn3(self.conv3(branch)) + self.downsample(x)).relu()


_Form = TypeVar("_Form", bound=ResNeXtBottleneck)


def _layers(block: ResNeXtBottleneck) -> dict[str, list[nn.Module]]:
    """Convolutions and batch norms by their names in the grouped form, path by path."""
    layers: dict[str, list[nn.Module]] = {}
    for name, layer in block.named_modules():
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
            layers.setdefault(re.sub(r"^paths\.\d+\.", "", name), []).append(layer)
    return layers


def _convert(block: ResNeXtBottleneck, form: type[_Form]) -> _Form:
    forms = (AggregatedBottleneck, EarlyConcatenationBottleneck, GroupedBottleneck)
    if type(block) not in forms:
        names = ", ".join(known.__name__ for known in forms)
        raise TypeError(f"block (a {type(block).__name__}) must be one of {names}")
    with torch.device("meta"):  # without data, so that no random number is drawn
        converted = form(**block.arguments)
    converted.train(block.training)
    sources = _layers(block)
    for name, targets in _layers(converted).items():
        # Of the last convolution the paths are the inputs, of all else the outputs.
        take_over(name, sources[name], targets, dim=1 if name == "conv3" else 0)
    return converted


def to_aggregated(block: ResNeXtBottleneck) -> AggregatedBottleneck:
    """A new :class:`AggregatedBottleneck` that computes the function of ``block``, which may have any of the forms and
    stays as it is.

    All tensors are copied bit by bit, with dtype and device. Modes, what is frozen and the constants of batch norm
    travel too; of paths that differ in these, the last decides.

    Raises:
        TypeError: ``block`` is none of the three forms.
        ValueError: the counters of batches in its paths differ.
    """
    return _convert(block, AggregatedBottleneck)


def to_early_concatenation(block: ResNeXtBottleneck) -> EarlyConcatenationBottleneck:
    """``block`` as a new :class:`EarlyConcatenationBottleneck`; see :func:`to_aggregated`."""
    return _convert(block, EarlyConcatenationBottleneck)


def to_grouped(block: ResNeXtBottleneck) -> GroupedBottleneck:
    """``block`` as a new :class:`GroupedBottleneck`; see :func:`to_aggregated`.

    Example:
        >>> from resnest_edu.blocks.resnext import AggregatedBottleneck, to_grouped
        >>> block = AggregatedBottleneck(64, 64, cardinality=4, width=8)
        >>> conv = to_grouped(block).conv2
        >>> conv.groups, tuple(conv.weight.shape)
        (4, (32, 8, 3, 3))
    """
    return _convert(block, GroupedBottleneck)


def equal_cost_width(channels: int, cardinality: int, weights: int) -> int:
    """The width d, rounded, at least 1, of K paths on ``channels`` channels with ``weights`` weights in all:
    K · (channels · d + 9 · d² + d · channels) = weights (arXiv:1611.05431, equation 4 and table 2).

    Raises:
        ValueError: an argument is not a positive integer.

    Example:
        >>> from resnest_edu.blocks.resnext import equal_cost_width
        >>> of_resnet = 256 * 64 + 9 * 64**2 + 64 * 256  # one path, 64 channels wide
        >>> [equal_cost_width(256, paths, of_resnet) for paths in (1, 2, 4, 8, 32)]
        [64, 40, 24, 14, 4]
    """
    require_positive_int(channels=channels, cardinality=cardinality, weights=weights)
    return max(1, round((math.sqrt(channels**2 + 9 * weights / cardinality) - channels) / 9))
