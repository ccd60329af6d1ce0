"""The bottleneck, executed one split at a time.

Legend: B batch, R radix, K cardinality, C channels, H, W height and width.

In the reference one 1×1 convolution makes the input of all splits, and one grouped 3×3 convolution reads it. Groups of
a convolution are slices of one tensor, and on many devices slices have to be copied before they can be multiplied.
Here every split has tensors of its own: its rows of the 1×1 convolution, a dense 3×3 convolution, its part of each
batch norm. The weights are the reference's, sliced where they lie, so state dicts are the same and both can take turns.
"""

import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnest_edu.network.bottleneck import Bottleneck
from resnest_edu.speed.tail_kernels import attend, kernels_apply, pool_splits
from resnest_edu.speed.timing import interleave
from resnest_edu.split_attention import RadixMajorSplitAttention


class PerSplitBottleneck(Bottleneck):
    """A :class:`~resnest_edu.Bottleneck` that computes the same function one split at
    a time.

    Made by :func:`accelerate`. Where a part has been replaced by something that
    cannot be sliced, say a synchronised batch norm, or somebody listens to the split
    attention through a hook, the reference is executed instead.

    Example:
        >>> import torch
        >>> from resnest_edu import Bottleneck
        >>> from resnest_edu.speed import PerSplitBottleneck
        >>> reference, fast = Bottleneck(64, 32).eval(), PerSplitBottleneck(64, 32).eval()
        >>> fast.load_state_dict(reference.state_dict())
        <All keys matched successfully>
        >>> x = torch.randn(2, 64, 8, 8)
        >>> torch.allclose(fast(x), reference(x), atol=1e-5)
        True
    """

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, in_channels, H, W) -> (B, 4 · planes, H', W')."""
        if not _can_be_sliced(self):
            return super().forward(x)
        attention: RadixMajorSplitAttention = self.conv2  # type: ignore[assignment]
        for norm in (self.bn1, attention.bn0, self.bn3):
            _count_batch(norm)
        out = weighted_sum(attention, _splits(self, x))
        if not self.pool_first:
            out = _average(self.pool, out)
        out = _convolve(out, self.conv3.weight, self.bn3)
        return (self.stochastic_depth(out) + self.downsample(x)).relu_()


def _can_be_sliced(block: Bottleneck) -> bool:
    attention = block.conv2
    if not isinstance(attention, RadixMajorSplitAttention):
        return False
    if attention._forward_pre_hooks or attention._forward_hooks:
        return False
    convolutions = block.conv1, attention.conv, block.conv3
    if any(type(conv) is not nn.Conv2d for conv in convolutions):
        return False
    if block.training and not isinstance(block.dropblock, nn.Identity):
        return False
    norms = block.bn1, attention.bn0, block.bn3
    if any(type(norm) is not nn.BatchNorm2d for norm in norms):
        return False
    return all(norm.track_running_stats and norm.momentum is not None for norm in norms)


def _count_batch(norm: nn.BatchNorm2d) -> None:
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)


def _splits(block: Bottleneck, x: Tensor) -> list[Tensor]:
    """U, one (B, C, H', W') for each split."""
    attention: RadixMajorSplitAttention = block.conv2  # type: ignore[assignment]
    conv, radix = attention.conv, attention.radix
    narrow, wide = block.conv1.weight.chunk(radix), conv.weight.chunk(radix)
    splits = []
    for r in range(radix):
        part = _convolve(x, narrow[r], block.bn1, r).relu_()
        if block.pool_first:
            part = _average(block.pool, part)
        geometry = conv.stride, conv.padding, conv.dilation, attention.cardinality
        splits.append(_convolve(part, wide[r], attention.bn0, r, *geometry).relu_())
    return splits


def _convolve(
    x: Tensor,
    weight: Tensor,
    norm: nn.BatchNorm2d,
    r: int = 0,
    *geometry: Any,
) -> Tensor:
    """Convolution with ``weight`` and the ``r``-th slice of the batch norm as large
    as its output."""
    channels = slice(r * len(weight), (r + 1) * len(weight))
    tensors = norm.running_mean, norm.running_var, norm.weight, norm.bias
    parts = (tensor[channels] for tensor in tensors)  # type: ignore[index]
    mean, variance, scale, shift = parts
    if norm.training or torch.is_grad_enabled():
        out = F.conv2d(x, weight, None, *geometry)
        momentum: float = norm.momentum  # type: ignore[assignment]
        norms = mean, variance, scale, shift
        return F.batch_norm(out, *norms, norm.training, momentum, norm.eps)
    # For inference the norm goes into the weights: to scale them takes less than to
    # scale what they make.
    precise = torch.promote_types(weight.dtype, torch.float32)
    factor = scale.to(precise) * (variance.to(precise) + norm.eps).rsqrt()
    weight, bias = weight * factor.view(-1, 1, 1, 1), shift - mean * factor
    return F.conv2d(x, weight.to(x.dtype), bias.to(x.dtype), *geometry)


def _average(pool: nn.Module, x: Tensor) -> Tensor:
    """What the block's pool computes. In half precision on CUDA a depthwise
    convolution takes a fraction of the time of PyTorch's pooling (the benchmark's
    layer tables have both); compiled, pooling has a kernel of its own.
    """
    half = x.dtype in (torch.bfloat16, torch.float16)
    if isinstance(pool, nn.AvgPool2d) and x.is_cuda and half and not torch.compiler.is_compiling():
        return _average_by_convolution(pool, x)
    return pool(x)


def _average_by_convolution(pool: nn.AvgPool2d, x: Tensor) -> Tensor:
    """The same average: a depthwise convolution with ones, which half precision holds
    exactly, and a division."""
    channels = x.shape[1]
    ones = x.new_ones(channels, 1, 3, 3)
    return F.conv2d(x, ones, None, pool.stride, pool.padding, groups=channels) / 9


def weighted_sum(attention: RadixMajorSplitAttention, splits: list[Tensor]) -> Tensor:
    """V, the weighted sum over splits: (B, C, H', W')."""
    if len(splits) == 2 and not kernels_apply(splits):
        return interpolate(attention, splits)
    return attend(splits, lambda context: _weights(attention, context))


def interpolate(attention: RadixMajorSplitAttention, splits: list[Tensor]) -> Tensor:
    """V for R = 2, in plain PyTorch: two weights that sum to one make one operation,
    in place of a product, a product and a sum."""
    # Under autocast the softmax may return another dtype, and all three must have one.
    weights = _weights(attention, pool_splits(splits)).to(splits[0].dtype)
    return torch.lerp(splits[1], splits[0], weights[:, 0, :, None, None])


def _weights(attention: RadixMajorSplitAttention, context: Tensor) -> Tensor:
    """The context (B, C) -> the weights (B, R, C)."""
    # It is a sum and a mean already: to the attention, one split of one position.
    return attention.attention(context[:, None, :, None, None]).flatten(2)


def accelerate(model: nn.Module, images: Tensor | None = None) -> nn.Module:
    """Make the bottlenecks inside ``model`` run one split at a time, in place, and
    return the model.

    Parameters, names and state dict stay, and so does what is computed, up to
    rounding; training, export and ``torch.compile`` work as before. Blocks with radix
    1, or without split attention, have nothing to gain and stay as they are.

    Which form is faster depends on the device, the sizes and the memory format (see
    :func:`restore`, which undoes it). Given ``images``, each block is timed both ways
    on what reaches it, in the mode the model is in (training: forward and backward),
    and changed only where that is faster. Channels-last memory gains most.

    Args:
        model: a network, or whatever contains bottlenecks.
        images: a batch as large as those to come, on the model's device.

    Raises:
        ValueError: ``model`` contains no bottleneck.

    Example:
        >>> import torch
        >>> from resnest_edu import resnest11_small
        >>> from resnest_edu.speed import accelerate
        >>> model, x = resnest11_small(num_classes=10).eval(), torch.randn(2, 3, 32, 32)
        >>> before = model(x)
        >>> torch.allclose(accelerate(model)(x), before, atol=1e-5)
        True
        >>> type(model.layer1[0]).__name__
        'PerSplitBottleneck'
    """
    parts = dict(model.named_modules())
    blocks = {name: p for name, p in parts.items() if isinstance(p, Bottleneck)}
    if not blocks:
        raise ValueError(f"model (={type(model).__name__}) must contain a Bottleneck")
    inputs = {} if images is None else _inputs(model, blocks, images)
    for name, block in blocks.items():
        if getattr(block.conv2, "radix", 1) == 1:
            continue
        # The class alone decides how a block is executed: changing it keeps every
        # tensor, name, hook and reference.
        if images is None or _is_faster(block, inputs[name]):
            block.__class__ = PerSplitBottleneck
    return model


def restore(model: nn.Module) -> nn.Module:
    """Undo :func:`accelerate`, in place, and return the model.

    Args:
        model: a network, accelerated or not.

    Example:
        >>> from resnest_edu import resnest11_small
        >>> from resnest_edu.speed import accelerate, restore
        >>> model = restore(accelerate(resnest11_small(num_classes=10)))
        >>> type(model.layer1[0]).__name__
        'Bottleneck'
    """
    for part in model.modules():
        if isinstance(part, PerSplitBottleneck):
            part.__class__ = Bottleneck  # type: ignore[assignment]
    return model


@torch.no_grad()
def _inputs(model: nn.Module, blocks: dict[str, Bottleneck], images: Tensor) -> dict[str, Tensor]:
    """What reaches each block; the running statistics stay as they are."""
    model = copy.deepcopy(model)
    inputs: dict[str, Tensor] = {}
    for name in blocks:
        model.get_submodule(name).register_forward_pre_hook(
            lambda module, args, name=name: inputs.update({name: args[0].detach()})
        )
    model(images)
    return inputs


def _is_faster(block: Bottleneck, x: Tensor) -> bool:
    """Whether running ``block`` one split at a time beats the reference on ``x``."""
    calls = {}
    for kind in (Bottleneck, PerSplitBottleneck):
        trial = copy.deepcopy(block)
        trial.__class__ = kind
        calls[kind.__name__] = partial(_step, trial, x)
    timings = interleave(calls, x.device, rounds=5, repeats=1)
    return timings["PerSplitBottleneck"].median < timings["Bottleneck"].median


def _step(block: Bottleneck, x: Tensor) -> None:
    with torch.set_grad_enabled(block.training):
        out = block(x.requires_grad_(block.training))
        if block.training:
            out.sum().backward()
