"""The bottleneck, executed one split at a time.

Legend: B batch, R radix, K cardinality, C channels, H, W height and width.

In the reference one 1×1 convolution makes the input of all splits, and one grouped 3×3 convolution reads it. Groups of
a convolution are slices of one tensor, and on many devices slices have to be copied before they can be multiplied.
Here every split has tensors of its own: its rows of the 1×1 convolution, a dense 3×3 convolution, its part of each
batch norm. The weights are the reference's, sliced where they lie, so state dicts are the same and both can take turns.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeGuard, TypeVar

import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as hooks_of_all_modules

from resnest_edu.network.bottleneck import Bottleneck
from resnest_edu.network.regularization import DropBlock
from resnest_edu.speed.tail_kernels import attend, kernels_apply, pool_splits
from resnest_edu.speed.timing import interleave
from resnest_edu.split_attention import RadixMajorSplitAttention

Layer = TypeVar("Layer", bound=nn.Module)


class PerSplitBottleneck(Bottleneck):
    """A :class:`~resnest_edu.Bottleneck` that computes the same function one split at a time.

    Made by :func:`accelerate`. It does not call some of its layers, but reads their weights. Every call looks first
    whether these layers are still what a bottleneck is made of, without hooks; where they are not, or where torch.fx
    traces it, it runs the reference.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, in_channels, H, W) -> (B, 4 · planes, H', W')."""
        dropping = type(self.dropblock) is DropBlock and self.dropblock.training
        if dropping or isinstance(x, torch.fx.Proxy) or not _can_be_sliced(self):
            return Bottleneck.forward(self, x)  # not super(): the measurement passes a Bottleneck
        attention: RadixMajorSplitAttention = self.conv2  # type: ignore[assignment]
        for norm in (self.bn1, attention.bn0, self.bn3):
            _count_batch(norm)
        out = weighted_sum(attention, _splits(self, x))
        if not self.pool_first:
            out = _average(self.pool, out)
        out = _convolve(out, self.conv3.weight, self.bn3)
        return (self.stochastic_depth(out) + self.downsample(x)).relu_()


def _can_be_sliced(block: Bottleneck) -> bool:
    """Whether to read the weights of the block's layers comes to the same as to call them."""
    attention = block.conv2
    if not _is_untouched(attention, RadixMajorSplitAttention) or attention.radix == 1:
        return False
    if not _has_own_methods(block, "branch") or not _has_own_methods(attention, "split", "attention"):
        return False
    if not (_is_untouched(block.dropblock, nn.Identity) or _is_untouched(block.dropblock, DropBlock)):
        return False
    groups = attention.radix * attention.cardinality
    return (
        _is_pointwise(block.conv1)
        and _is_pointwise(block.conv3)
        and _is_convolution(attention.conv, groups)
        and _is_norm(block.bn1, block.conv1)
        and _is_norm(attention.bn0, attention.conv)
        and _is_norm(block.bn3, block.conv3)
    )


def _is_untouched(layer: nn.Module, kind: type[Layer]) -> TypeGuard[Layer]:
    """Whether ``layer`` is a ``kind``, not one of its subclasses (a parametrization makes one), and nobody listens to
    it or has put another ``forward`` in it. PyTorch's pruning and its older norms of weights work through hooks."""
    if type(layer) is not kind or not _has_own_methods(layer, "forward"):
        return False
    listeners = (
        layer._forward_hooks,
        layer._forward_pre_hooks,
        layer._backward_hooks,
        layer._backward_pre_hooks,
        hooks_of_all_modules._global_forward_hooks,
        hooks_of_all_modules._global_forward_pre_hooks,
        hooks_of_all_modules._global_backward_hooks,
        hooks_of_all_modules._global_backward_pre_hooks,
    )
    return not any(listeners)


def _has_own_methods(module: nn.Module, *names: str) -> bool:
    """Whether these methods are the class's, and none has been replaced in this one object."""
    return not any(name in module.__dict__ for name in names)


def _is_convolution(layer: nn.Module, groups: int = 1) -> TypeGuard[nn.Conv2d]:
    if not _is_untouched(layer, nn.Conv2d) or not _has_own_methods(layer, "_conv_forward"):
        return False
    return layer.bias is None and layer.padding_mode == "zeros" and layer.groups == groups


def _is_pointwise(layer: nn.Module) -> bool:
    if not _is_convolution(layer):
        return False
    return layer.kernel_size == layer.stride == layer.dilation == (1, 1) and layer.padding == (0, 0)


def _is_norm(layer: nn.Module, convolution: nn.Conv2d) -> bool:
    """Whether ``layer`` is a batch norm with all its parts, for the channels that the convolution emits."""
    if not _is_untouched(layer, nn.BatchNorm2d) or layer.momentum is None or not layer.track_running_stats:
        return False
    parts = layer.weight, layer.bias, layer.running_mean, layer.running_var
    return all(part is not None and len(part) == len(convolution.weight) for part in parts)


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
    if x.is_cuda and half and not torch.compiler.is_compiling() and _is_three_by_three(pool):
        return _average_by_convolution(pool, x)
    return pool(x)


def _is_three_by_three(pool: nn.Module) -> TypeGuard[nn.AvgPool2d]:
    """Whether ``pool`` is the one that a bottleneck is built with."""
    if not _is_untouched(pool, nn.AvgPool2d):
        return False
    plain = pool.count_include_pad and not pool.ceil_mode and not pool.divisor_override
    return pool.kernel_size == 3 and pool.padding == 1 and plain


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
    """Make the bottlenecks inside ``model`` run one split at a time, in place, and return the model.

    Parameters, names and state dict stay, and so does what is computed, up to rounding; training, export and
    ``torch.compile`` work as before. What it does not know stays as it is: subclasses of
    :class:`~resnest_edu.Bottleneck`, other split attention, radix 1, other convolutions or norms, layers with hooks or
    parametrizations. What changes afterwards (a hook is added, a layer replaced or pruned) is noticed at the next call,
    which runs the reference.

    Which form is faster depends on the device, the sizes and the memory format (see :func:`restore`, which undoes it).
    Given ``images``, each block is timed both ways on what reaches it, in the mode the model is in (training: forward
    and backward), and changed only where that is faster. For this the model is called once. Channels-last memory gains
    most.

    Args:
        model: a network, or whatever contains bottlenecks.
        images: a batch as large as those to come, on the model's device.

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
    blocks = [part for part in model.modules() if type(part) is Bottleneck and _has_own_methods(part, "forward")]
    blocks = [block for block in blocks if _can_be_sliced(block)]
    if images is not None:
        with _left_as_it_was(model, images):
            inputs = _inputs(model, blocks, images)
            blocks = [block for block in blocks if block in inputs and _is_faster(block, inputs[block])]
    for block in blocks:
        # The class alone decides how a block is executed: changing it keeps every tensor, name, hook and reference.
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
        if type(part) is PerSplitBottleneck:
            part.__class__ = Bottleneck  # type: ignore[assignment]
    return model


@contextmanager
def _left_as_it_was(model: nn.Module, images: Tensor) -> Iterator[None]:
    """What runs inside may change neither the model's running statistics nor the generators of random numbers."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.random.fork_rng([images.device] if images.is_cuda else []):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, earlier in buffers:
                    buffer.copy_(earlier)


@torch.no_grad()
def _inputs(model: nn.Module, blocks: list[Bottleneck], images: Tensor) -> dict[nn.Module, Tensor]:
    """What reaches each block."""
    inputs: dict[nn.Module, Tensor] = {}
    watching = [
        block.register_forward_pre_hook(lambda module, args: inputs.update({module: args[0].detach()}))
        for block in blocks
    ]
    try:
        model(images)
    finally:
        for hook in watching:
            hook.remove()
    return inputs


def _is_faster(block: Bottleneck, x: Tensor) -> bool:
    """Whether running ``block`` one split at a time beats the reference on ``x``."""
    # By the class's method, so that hooks on the block are not called.
    calls = {kind.__name__: partial(_step, kind, block, x) for kind in (Bottleneck, PerSplitBottleneck)}
    timings = interleave(calls, x.device, rounds=5, repeats=1)
    return timings["PerSplitBottleneck"].median < timings["Bottleneck"].median


def _step(kind: type[Bottleneck], block: Bottleneck, x: Tensor) -> None:
    with torch.set_grad_enabled(block.training):
        out = kind.forward(block, x.requires_grad_(block.training))
        if block.training:
            learnt = [parameter for parameter in block.parameters() if parameter.requires_grad]
            torch.autograd.grad(out.sum(), [x, *learnt], allow_unused=True)
