"""What split attention does after its convolution, with as little memory traffic as it can do with.

Legend: B batch, R radix, C channels, H, W height and width, r one of the R splits.

The tail of split attention (ResNeSt, Zhang et al., arXiv:2004.08955, section 3.1) pools the R splits u_r into a
context s, makes weights a from it with two small dense layers, and adds up the splits by weight:

    s = Σ_r mean_hw u_r        a = attention(s)        V = Σ_r a_r · u_r

Per number of V that is hardly any arithmetic, so what it costs is what it reads and writes. Let a tensor of V's size
be one unit, as s and a are next to nothing. The kernels move

    forward     pool: R read                              weigh: R read, 1 written                      2R + 1
    backward    ∂a_r = Σ_hw ∂V · u_r: 1 + R read          ∂u_r = a_r · ∂V + ∂s / HW: 1 read, R written   2R + 2

and no program can do with less that has to finish a sum before it uses it, on tensors that no cache holds: forward the
weights wait for all of u, backward ∂s waits for all of ∂V. With R = 2 that is 5 + 6 units. The same in single PyTorch
operations (mean, lerp, and what differentiates them) takes 5 + 19: the products under the sum for ∂a are written and
read again, and both parts of every ∂u_r are written before they are added.

The kernels run on CUDA tensors in channels-last memory (:func:`kernels_apply`); anything else takes plain PyTorch,
which computes the same and is what the tests compare with.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

try:
    from resnest_edu.speed import triton_programs as programs
except ImportError:  # Triton comes with PyTorch where that can use it, and not elsewhere
    programs = None  # type: ignore[assignment]

MOST_SPLITS = 4
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def kernels_apply(splits: list[Tensor]) -> bool:
    """Whether the Triton kernels can work on these tensors, or plain PyTorch has to.

    They need CUDA (or Triton's interpreter: ``TRITON_INTERPRET=1`` before the
    import), and one to four tensors of one shape (B, C, H, W) and one of ``DTYPES``,
    each without gaps in channels-last memory. What is exported is to run without
    Triton.

    Args:
        splits: one tensor or more.

    Example:
        >>> import torch
        >>> from resnest_edu.speed import kernels_apply
        >>> split = torch.randn(2, 64, 8, 8).to(memory_format=torch.channels_last)
        >>> kernels_apply([split, split])  # on the CPU
        False
    """
    first = splits[0]
    return (
        programs is not None
        and (first.is_cuda or programs.INTERPRETED)
        # Not is_exporting(), which PyTorch 2.11 takes for true in whatever it compiles; this flag it reads.
        and not (torch.compiler._is_exporting_flag or torch.jit.is_tracing())
        and len(splits) <= MOST_SPLITS
        and first.dtype in DTYPES
        and first.numel() > 0
        and all(
            (split.shape, split.dtype, split.device) == (first.shape, first.dtype, first.device)
            and split.is_contiguous(memory_format=torch.channels_last)
            for split in splits
        )
    )


def pool_splits(splits: list[Tensor]) -> Tensor:
    """s, the mean over positions of the sum of the splits.

    Reads every split once, adds up in float32 and always in the same order, and
    returns the splits' dtype. Its gradient ∂s / HW is the same at every position of
    every split: a view of B · C numbers.

    Shape: R times (B, C, H, W) -> (B, C).

    Args:
        splits: the splits u_r.

    Example:
        >>> import torch
        >>> from resnest_edu.speed import pool_splits
        >>> pool_splits([torch.ones(2, 3, 8, 8), 2 * torch.ones(2, 3, 8, 8)])
        tensor([[3., 3., 3.],
                [3., 3., 3.]])
    """
    if kernels_apply(splits):
        return _pool(splits)
    means = [split.mean(dim=(2, 3)) for split in splits]
    return torch.stack(means).sum(dim=0)


def weigh_splits(splits: list[Tensor], weights: Tensor) -> Tensor:
    """V, the sum of the splits, each times its weight, in the splits' dtype.

    Shape: R times (B, C, H, W), and (B, R, C) -> (B, C, H, W).

    Args:
        splits: the splits u_r.
        weights: a.

    Raises:
        ValueError: ``weights`` has another shape.

    Example:
        >>> import torch
        >>> from resnest_edu.speed import weigh_splits
        >>> splits = [torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)]
        >>> weights = torch.tensor([[[1.0, 0.5, 0.25], [0.0, 0.5, 0.75]]])  # b r c
        >>> weigh_splits(splits, weights).mean(dim=(2, 3))
        tensor([[1.0000, 0.5000, 0.2500]])
    """
    _require_weights(splits, weights)
    if kernels_apply(splits):
        return _weigh(splits, weights)
    factors = weights.to(splits[0].dtype)[..., None, None].unbind(dim=1)
    out = factors[0] * splits[0]
    for factor, split in zip(factors[1:], splits[1:], strict=True):
        out = torch.addcmul(out, factor, split)
    return out


def attend(splits: list[Tensor], attention: Callable[[Tensor], Tensor]) -> Tensor:
    """V, the sum of the splits, weighted by what ``attention`` makes of their
    context.

    ``weigh_splits(splits, attention(pool_splits(splits)))``, except that the gradient
    of the splits is written once. Autograd would get one part of it from each of the
    two, and read and write 2R units more to add them.

    Shape: R times (B, C, H, W) -> (B, C, H, W).

    Args:
        splits: the splits u_r.
        attention: makes the weights (B, R, C) from the context s (B, C).

    Raises:
        ValueError: the weights have another shape.

    Example:
        >>> import torch
        >>> from resnest_edu.speed import attend
        >>> splits = [torch.randn(2, 16, 8, 8) for _ in range(2)]
        >>> dense = torch.nn.Linear(16, 2 * 16)
        >>> def attention(context):
        ...     return dense(context).unflatten(1, (2, 16)).softmax(dim=1)
        >>> attend(splits, attention).shape
        torch.Size([2, 16, 8, 8])
    """
    learns = torch.is_grad_enabled() and any(split.requires_grad for split in splits)
    if learns and kernels_apply(splits):
        context, *edges = _Fork.apply(*splits)
        weights = attention(context)
        _require_weights(splits, weights)
        return _Join.apply(weights, *edges, *splits)
    return weigh_splits(splits, attention(pool_splits(splits)))


def _require_weights(splits: list[Tensor], weights: Tensor) -> None:
    shape, expected = (
        tuple(weights.shape),
        (len(splits[0]), len(splits), splits[0].shape[1]),
    )
    if shape != expected:  # the kernels would read beyond its end
        raise ValueError(f"weights (of shape {shape}) must have the shape (B, R, C) (={expected})")


# The operators: the programs, as PyTorch and its compiler see them.


@custom_op("resnest_edu::pool_splits", mutates_args=())
def _pool(splits: list[Tensor]) -> Tensor:
    cut = programs.plan(splits[0].shape)
    partial = _partial_sums(splits[0], cut)
    scale = 1 / splits[0][0, 0].numel()
    _launch(programs.pool, cut, splits[0], partial, *_four(splits), scale, R=len(splits))
    return _add_up(partial, splits[0].dtype)


@_pool.register_fake
def _(splits: list[Tensor]) -> Tensor:
    return splits[0].new_empty(splits[0].shape[:2])


@custom_op("resnest_edu::weigh_splits", mutates_args=())
def _weigh(splits: list[Tensor], weights: Tensor) -> Tensor:
    out = _empty_like(splits[0])
    cut = programs.plan(out.shape)
    _launch(
        programs.weigh,
        cut,
        out,
        out,
        *_four(splits),
        weights.contiguous(),
        R=len(splits),
    )
    return out


@_weigh.register_fake
def _(splits: list[Tensor], weights: Tensor) -> Tensor:
    return _empty_like(splits[0])


@custom_op("resnest_edu::gradient_of_weights", mutates_args=())
def _gradient_of_weights(grad: Tensor, splits: list[Tensor], dtype: torch.dtype) -> Tensor:
    """∂a_r = Σ_hw ∂V · u_r, (B, R, C)."""
    cut = programs.plan(grad.shape)
    partial = _partial_sums(grad, cut, len(splits))
    _launch(
        programs.weights_gradient,
        cut,
        grad,
        partial,
        _channels_last(grad),
        *_four(splits),
        R=len(splits),
    )
    return _add_up(partial, dtype)


@_gradient_of_weights.register_fake
def _(grad: Tensor, splits: list[Tensor], dtype: torch.dtype) -> Tensor:
    return grad.new_empty((len(grad), len(splits), grad.shape[1]), dtype=dtype)


@custom_op("resnest_edu::gradient_of_splits", mutates_args=())
def _gradient_of_splits(grad: Tensor, weights: Tensor, context: Tensor | None) -> list[Tensor]:
    """∂u_r = a_r · ∂V + ∂s / HW, where there is a ``context`` ∂s."""
    radix = weights.shape[1]
    out = [_empty_like(grad) for _ in range(radix)]
    shift = weights if context is None else context.contiguous()
    arguments = (
        _channels_last(grad),
        weights.contiguous(),
        shift,
        1 / grad[0, 0].numel(),
    )
    cut = programs.plan(grad.shape)
    _launch(
        programs.splits_gradient,
        cut,
        grad,
        *_four(out),
        *arguments,
        R=radix,
        SHIFTED=context is not None,
    )
    return out


@_gradient_of_splits.register_fake
def _(grad: Tensor, weights: Tensor, context: Tensor | None) -> list[Tensor]:
    return [_empty_like(grad) for _ in range(weights.shape[1])]


def _launch(program: Any, cut: "programs.Cut", like: Tensor, *arguments: Any, **constants: Any) -> None:
    images, channels, height, width = like.shape
    with torch.cuda.device_of(like):
        program[images * cut.strips, cut.blocks](
            *arguments,
            cut.strips,
            cut.tiles,
            height * width,
            channels,
            ROWS=cut.rows,
            COLUMNS=cut.columns,
            **constants,
        )


def _four(tensors: list[Tensor]) -> list[Tensor]:
    """As many as the programs have places for; those beyond R are not looked at."""
    return tensors + tensors[:1] * (MOST_SPLITS - len(tensors))


def _empty_like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _partial_sums(like: Tensor, cut: "programs.Cut", *more: int) -> Tensor:
    return like.new_empty((len(like), cut.strips, *more, like.shape[1]), dtype=torch.float32)


def _add_up(partial: Tensor, dtype: torch.dtype) -> Tensor:
    return (partial[:, 0] if partial.shape[1] == 1 else partial.sum(dim=1)).to(dtype)


# Differentiation of the two operators, each for itself.


def _keep_splits(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.radix, ctx.shape = len(inputs[0]), inputs[0][0].shape


def _pool_backward(ctx: Any, grad: Tensor) -> list[Tensor]:
    height, width = ctx.shape[2:]
    return [(grad / (height * width))[..., None, None].expand(ctx.shape)] * ctx.radix


_pool.register_autograd(_pool_backward, setup_context=_keep_splits)


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    splits, weights = inputs
    ctx.save_for_backward(weights, *splits)


def _weigh_backward(ctx: Any, grad: Tensor) -> tuple[list[Tensor], Tensor]:
    weights, *splits = ctx.saved_tensors
    return _gradient_of_splits(grad, weights, None), _gradient_of_weights(grad, splits, weights.dtype)


_weigh.register_autograd(_weigh_backward, setup_context=_keep_all)


# Differentiation of both together. ∂u_r has two parts, and what is known when V is differentiated, a_r · ∂V, is better
# not written down before the other. So V's node hands its two factors on to the context's node, which comes last: in
# the place of gradients, along two edges that exist for nothing else, and therefore lead to empty tensors.


class _Fork(torch.autograd.Function):
    """The context, and the ends of the two edges: u -> s, ∂V's place, a's place."""

    @staticmethod
    def forward(*splits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, channels = splits[0].shape[:2]
        product = splits[0].new_empty(()).expand_as(splits[0])
        factor = splits[0].new_empty((), dtype=torch.float32)
        factor = factor.expand(batch, len(splits), channels)
        return _pool(list(splits)), product, factor

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        context, grad, weights = grads
        return tuple(_gradient_of_splits(grad, weights, context))


class _Join(torch.autograd.Function):
    """V from a, the ends of the two edges, and u."""

    @staticmethod
    def forward(
        weights: Tensor,
        product: Tensor,
        factor: Tensor,
        *splits: Tensor,
    ) -> Tensor:
        return _weigh(list(splits), weights)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        weights, _, _, *splits = inputs
        ctx.save_for_backward(weights, *splits)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        weights, *splits = ctx.saved_tensors
        gradient = _gradient_of_weights(grads[0], splits, weights.dtype)
        return gradient, grads[0], weights.float(), *(None for _ in splits)
