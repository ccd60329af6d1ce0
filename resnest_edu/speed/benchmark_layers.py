"""The layers of ResNeSt-50, one by one: each in the forms it can take, in turns, and beside it the bytes it must move.

Legend: B batch, R radix, C channels, H height and width. On CUDA tensors are bfloat16 and channels-last, and what is
timed is a CUDA graph, so that the host's launches do not count; on the CPU they are float32.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from resnest_edu.arguments import require_divisible, require_positive_int
from resnest_edu.speed.per_split import interpolate, weighted_sum
from resnest_edu.speed.timing import Call, Timing, captured, fast_convolutions, interleave
from resnest_edu.split_attention import RadixMajorSplitAttention

CONVOLUTIONS = [(64, 56), (128, 56), (128, 28), (256, 28), (256, 14), (512, 14), (512, 7)]
"""C, H of the 3×3 convolutions."""
POOLS = [(128, 56, 2), (256, 28, 2), (512, 14, 2)]
"""C, H and stride of the 3×3 average pools."""
TAILS = [(64, 56), (128, 28), (256, 14), (512, 7)]
"""C, H of the attention tails."""


@dataclass(frozen=True)
class Form:
    """A function of tensors; backward makes the gradients of ``inputs`` and of ``parameters``."""

    function: Callable[..., Any]
    inputs: Sequence[Tensor]
    parameters: Sequence[Tensor] = ()


def convolutions(channels: int, size: int, *, batch: int, device: torch.device, **options: Any) -> list[dict[str, Any]]:
    """The 3×3 convolution from C to 2C channels in two groups, all forms of it; and the plain one from C to C, which
    multiplies as much.

    Args:
        channels: C, even.
        size: H.
        batch: B.
        device: where.
        options: of :func:`~resnest_edu.speed.timing.interleave`.

    Returns:
        A row for each form, with milliseconds: ``forward_ms`` and ``both_ms``, forward and backward.

    Raises:
        ValueError: C is odd, or a number is not a positive integer.
    """
    require_positive_int(channels=channels, size=size, batch=batch)
    require_divisible("channels", channels, "groups", 2)
    half = channels // 2
    x, weight = _random((batch, channels, size, size), device), _random((2 * channels, half, 3, 3), device)
    halves, weights = [_leaf(part) for part in x.chunk(2, 1)], [_leaf(part) for part in weight.chunk(2)]
    plain = _random((channels, channels, 3, 3), device)

    def on_halves(*halves: Tensor) -> tuple[Tensor, ...]:
        return tuple(F.conv2d(halves[r], weights[r], padding=1) for r in range(2))

    def on_slices(x: Tensor) -> tuple[Tensor, ...]:
        return on_halves(x[:, :half], x[:, half:])

    # Zeros outside the two blocks: one dense convolution, of twice the operations.
    diagonal = torch.zeros(2 * channels, channels, 3, 3, dtype=x.dtype, device=device)
    diagonal[:channels, :half], diagonal[channels:, half:] = weights[0].detach(), weights[1].detach()
    diagonal = _leaf(diagonal)
    forms: dict[str, Form] = {
        "grouped": Form(lambda x: F.conv2d(x, weight, padding=1, groups=2), [x], [weight]),
        "per split, on slices": Form(on_slices, [x], weights),
        "per split, on separate halves": Form(on_halves, halves, weights),
        "block-diagonal dense": Form(lambda x: F.conv2d(x, diagonal, padding=1), [x], [diagonal]),
        "plain, C to C": Form(lambda x: F.conv2d(x, plain, padding=1), [x], [plain]),
    }
    return _rows(forms, device, {"channels": channels, "size": size, "batch": batch}, options)


def pools(
    channels: int, size: int, stride: int, *, batch: int, device: torch.device, **options: Any
) -> list[dict[str, Any]]:
    """The 3×3 average pool, and the convolution of every channel by itself that computes the same.

    Args:
        channels: C.
        size: H.
        stride: of the pool.
        batch: B.
        device: where.
        options: as in :func:`convolutions`, and so is what is returned.

    Raises:
        ValueError: a number is not a positive integer.
    """
    require_positive_int(channels=channels, size=size, stride=stride, batch=batch)
    x = _random((batch, channels, size, size), device)
    kernel = torch.full((channels, 1, 3, 3), 1 / 9, dtype=x.dtype, device=device)
    forms: dict[str, Form] = {
        "average pool": Form(lambda x: F.avg_pool2d(x, 3, stride, 1), [x]),
        "depthwise convolution": Form(lambda x: F.conv2d(x, kernel, None, stride, 1, groups=channels), [x]),
    }
    return _rows(forms, device, {"channels": channels, "size": size, "stride": stride, "batch": batch}, options)


def tail(
    channels: int,
    size: int,
    *,
    batch: int,
    device: torch.device,
    bandwidth: float,
    compiled: bool = True,
    **options: Any,
) -> list[dict[str, Any]]:
    """What follows the splits of a split attention (pool, two dense layers, softmax, weighted sum), with R = 2.

    The fewest elements it moves, if nothing but the splits' feature maps counts and none stays on the chip: forward
    (2R + 1)·BCHH, for it reads the splits for the context, reads them again for the sum and writes the sum. Backward
    (2R + 2)·BCHH more, for the weights' gradients need all of the output's gradient and of the splits (R + 1), and only
    then can the splits' gradients be written, from the output's gradient (R + 1). A form's share is the time in which a
    copy moves that much over its own.

    Args:
        channels: C.
        size: H.
        batch: B.
        device: where.
        bandwidth: bytes a second of a copy, :func:`~resnest_edu.speed.timing.copy_bandwidth`.
        compiled: time what ``torch.compile`` makes of all forms, too.
        options: as in :func:`convolutions`.

    Returns:
        Rows as there, with ``forward_share`` and ``both_share``.

    Raises:
        ValueError: a number is not a positive integer.
    """
    require_positive_int(channels=channels, size=size, batch=batch)
    radix = 2
    torch.manual_seed(0)
    attention = RadixMajorSplitAttention(channels, channels, radix=radix).to(device)
    splits = _random((batch, radix * channels, size, size), device)
    parts = [_leaf(part) for part in splits.chunk(radix, 1)]
    dense = [p for name, p in attention.named_parameters() if name.startswith(("fc", "bn1"))]

    def reference(splits: Tensor) -> Tensor:
        stacked = splits.unflatten(1, (radix, channels))
        return (attention.attention(stacked) * stacked).sum(dim=1)

    def accelerated(*parts: Tensor) -> Tensor:
        return weighted_sum(attention, list(parts))

    def interpolated(*parts: Tensor) -> Tensor:
        return interpolate(attention, list(parts))

    forms = {
        "reference": Form(reference, [splits], dense),
        "interpolation": Form(interpolated, parts, dense),
        "accelerated": Form(accelerated, parts, dense),
    }
    if compiled:
        for name, form in list(forms.items()):
            function = torch.compile(form.function, fullgraph=True, dynamic=False)
            forms[f"{name}, compiled"] = replace(form, function=function)
    facts = {"channels": channels, "size": size, "batch": batch, "radix": radix}
    # Without the cache: the weights are converted in every call, as they are in every step of a network.
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda", cache_enabled=False):
        rows = _rows(forms, device, facts, options, training=attention.train)
    unit = splits.numel() // radix * splits.element_size()
    floors = {"forward": (2 * radix + 1) * unit, "both": (4 * radix + 3) * unit}
    for row in rows:
        for name, floor in floors.items():
            row[f"{name}_share"] = floor / bandwidth / (row[f"{name}_ms"] / 1000)
    torch.compiler.reset()
    return rows


def _random(shape: tuple[int, ...], device: torch.device) -> Tensor:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    return _leaf(torch.randn(shape, device=device, dtype=dtype))


def _leaf(x: Tensor) -> Tensor:
    """A tensor of its own, channels-last, that gets a gradient."""
    return x.detach().clone(memory_format=torch.channels_last).requires_grad_()


def _rows(
    forms: Mapping[str, Form],
    device: torch.device,
    facts: Mapping[str, Any],
    options: Mapping[str, Any],
    training: Callable[[bool], Any] = lambda mode: None,
) -> list[dict[str, Any]]:
    """Time every form forward, then forward and backward, each in turns; ``training`` sets the mode for it."""
    with fast_convolutions(device):
        training(False)
        forward = _time({name: _forward(form) for name, form in forms.items()}, device, options)
        training(True)
        both = _time({name: _both(form) for name, form in forms.items()}, device, options)
    rows = []
    for name in forms:
        row: dict[str, Any] = {"form": name, **facts}
        for kind, timing in (("forward", forward[name]), ("both", both[name])):
            row |= {
                f"{kind}_ms": 1000 * timing.median,
                f"{kind}_ms_low": 1000 * timing.low,
                f"{kind}_ms_high": 1000 * timing.high,
            }
        rows.append(row)
    return rows


def _time(calls: Mapping[str, Call], device: torch.device, options: Mapping[str, Any]) -> dict[str, Timing]:
    return interleave({name: captured(call, device) for name, call in calls.items()}, device, **options)


def _forward(form: Form) -> Call:
    return torch.no_grad()(lambda: form.function(*form.inputs))


def _both(form: Form) -> Call:
    outputs = form.function(*form.inputs)
    gradients = [torch.randn_like(out) for out in (outputs if isinstance(outputs, tuple) else (outputs,))]
    leaves = [*form.inputs, *form.parameters]
    return lambda: torch.autograd.grad(form.function(*form.inputs), leaves, gradients)
