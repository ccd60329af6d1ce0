"""From the cardinality-major to the radix-major layout of split attention and back: nothing but an order of channels.

Legend: R radix, K cardinality. In the patterns r counts splits, k cardinal groups, c the channels of one split.

The cardinality-major order is ``(k r c)``, the radix-major order ``(r k c)``. Both layouts hold the same numbers, so
the weights only change places, and what feeds a split-attention module changes places with them.
"""

import copy

import torch
from torch import Tensor, nn

from resnest_edu.arguments import require_divisible, require_positive_int
from resnest_edu.network.bottleneck import Bottleneck
from resnest_edu.network.regularization import RectifiedConv2d, rectify
from resnest_edu.split_attention import CardinalityMajorSplitAttention, RadixMajorSplitAttention, SplitAttention
from resnest_edu.take_over import take_over


def radix_major_order(x: Tensor, radix: int, cardinality: int, *, dim: int = 1) -> Tensor:
    """The same channels, from ``(k r c)`` to ``(r k c)``. Shape: any -> the same.

    Args:
        x: what to reorder, a feature map or a weight.
        radix: R.
        cardinality: K.
        dim: the axis of the channels: 1 in a feature map, 0 for the output channels of a weight.

    Raises:
        ValueError: R or K is not a positive integer, or the channels do not divide into R · K groups.

    Example:
        >>> import torch
        >>> from resnest_edu.network.layouts import radix_major_order
        >>> x = torch.tensor([[11, 12, 21, 22, 31, 32]])  # k and r, with K = 3 and R = 2
        >>> radix_major_order(x, radix=2, cardinality=3)
        tensor([[11, 21, 31, 12, 22, 32]])
    """
    _check_groups(x, radix, cardinality, dim)
    return x.unflatten(dim, (cardinality, radix, -1)).transpose(dim, dim + 1).flatten(dim, dim + 2)


def cardinality_major_order(x: Tensor, radix: int, cardinality: int, *, dim: int = 1) -> Tensor:
    """The inverse of :func:`radix_major_order`, from ``(r k c)`` to ``(k r c)``, with the same arguments and errors."""
    _check_groups(x, radix, cardinality, dim)
    return x.unflatten(dim, (radix, cardinality, -1)).transpose(dim, dim + 1).flatten(dim, dim + 2)


def _check_groups(x: Tensor, radix: int, cardinality: int, dim: int) -> None:
    require_positive_int(radix=radix, cardinality=cardinality)
    require_divisible("channels", x.shape[dim], "radix * cardinality", radix * cardinality)


def to_radix_major(module: nn.Module) -> nn.Module:
    """A copy of ``module`` that computes the same function with all its split attention in the radix-major layout.

    In a bottleneck the output channels of ``conv1`` and ``bn1`` are reordered too, so nothing around it notices. Of a
    bare :class:`CardinalityMajorSplitAttention` the result wants its input's channels in radix-major order,
    ``result(radix_major_order(x, R, K)) == module(x)``.

    Everything travels bit for bit: weights, running statistics, what is frozen, the mode. The copy shares no memory
    with ``module`` and carries no gradients. What already has the layout is copied as it is.

    Args:
        module: split attention, a bottleneck, a whole network, or whatever contains bottlenecks.

    Raises:
        ValueError: ``module`` contains no split attention, or split attention outside a bottleneck, whose input could
            not be reordered.
    """
    return _convert(module, RadixMajorSplitAttention)


def to_cardinality_major(module: nn.Module) -> nn.Module:
    """A copy of ``module`` that computes the same function with all its split attention in the cardinality-major
    layout: the inverse of :func:`to_radix_major`, with the same rules and errors. For a bare
    :class:`RadixMajorSplitAttention`, ``result(cardinality_major_order(x, R, K)) == module(x)``.

    Example:
        >>> import torch
        >>> from resnest_edu import resnest11_small, to_cardinality_major
        >>> model = resnest11_small(num_classes=10).eval()
        >>> x = torch.randn(2, 3, 32, 32)
        >>> torch.allclose(to_cardinality_major(model)(x), model(x), atol=1e-5)
        True
    """
    return _convert(module, CardinalityMajorSplitAttention)


def _convert(module: nn.Module, layout: type[SplitAttention]) -> nn.Module:
    parts = module.named_modules()
    attentions = [name for name, part in parts if isinstance(part, SplitAttention)]
    if not attentions:
        kind = type(module).__name__
        raise ValueError(f"module (={kind}) must contain split attention")
    result = copy.deepcopy(module)  # gradients, in the old order, stay behind
    if isinstance(result, SplitAttention):
        return _convert_attention(result, layout)
    for name, part in list(result.named_modules()):
        if isinstance(part, Bottleneck) and isinstance(part.conv2, SplitAttention):
            attentions.remove(f"{name}.conv2".lstrip("."))
            if not isinstance(part.conv2, layout):
                _reorder_outputs(part, part.conv2, layout)
                part.conv2 = _convert_attention(part.conv2, layout)
    if attentions:
        names = ", ".join(attentions)
        raise ValueError(f"split attention {names} must be inside a Bottleneck")
    return result


@torch.no_grad()
def _reorder_outputs(
    block: Bottleneck,
    attention: SplitAttention,
    layout: type[SplitAttention],
) -> None:
    """Reorder what ``conv1`` and ``bn1`` emit, and the attention reads."""
    to_radix = layout is RadixMajorSplitAttention
    order = radix_major_order if to_radix else cardinality_major_order
    radix, cardinality = attention.radix, attention.cardinality
    for layer in (block.conv1, block.bn1):
        for tensor in layer.state_dict().values():
            if tensor.ndim > 0:  # not the number of batches
                tensor.copy_(order(tensor, radix, cardinality, dim=0))


def _convert_attention(module: SplitAttention, layout: type[SplitAttention]) -> SplitAttention:
    if isinstance(module, layout):
        return module
    with torch.device("meta"):  # takes no memory, and draws no random weights
        result = layout(**module.arguments)
    result.train(module.training)
    if any(isinstance(part, RectifiedConv2d) for part in module.modules()):
        rectify(result)
    sources = _layers(module)
    for name, targets in _layers(result).items():
        take_over(name, sources[name], targets)
    return result


def _layers(module: SplitAttention) -> dict[str, list[nn.Module]]:
    """The layers by their radix-major names, in the order in which the radix-major layout joins their channels.

    The convolution and its batch norm hold ``(r k c)`` channels, so splits come first here. The dense layers are
    grouped by k alone and so have the same order, ``(k c)`` or ``(k r c)``, in both layouts.
    """
    if isinstance(module, RadixMajorSplitAttention):
        return {name: [module.get_submodule(name)] for name in ("conv", "bn0", "fc1", "bn1", "fc2")}
    groups = [f"groups.{k}" for k in range(module.cardinality)]
    splits = [f"{group}.splits.{r}" for r in range(module.radix) for group in groups]
    places = {"conv": splits, "bn0": splits, "fc1": groups, "bn1": groups, "fc2": groups}
    return {name: [module.get_submodule(f"{part}.{name}") for part in parts] for name, parts in places.items()}
