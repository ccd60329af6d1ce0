"""How to time: in turns, warm, and with the spread beside the median.

Every quantity is seconds of one call. Nothing here knows what is timed, but for the copy that bytes are compared with.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.profiler_util import FunctionEvent

from resnest_edu.arguments import require_positive_int

Call = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """What rounds of timing give: the median, and the quartiles between which half of the rounds lie."""

    median: float
    low: float
    high: float
    rounds: int


def summarize_rounds(seconds: Sequence[float]) -> Timing:
    """The rounds in three numbers.

    Raises:
        ValueError: there are fewer than two, and so no spread.
    """
    if len(seconds) < 2:
        raise ValueError(f"seconds (={list(seconds)}) must be of at least two rounds, or there is no spread")
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Timing(median, low, high, len(seconds))


def wait(device: torch.device) -> None:
    """Return once all that was asked of ``device`` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleave(
    calls: Mapping[str, Call],
    device: torch.device,
    *,
    rounds: int = 15,
    repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time ``calls`` in turns, so that a clock which slows down, or a neighbour who wakes up, is met by all.

    One round calls each in a row, ``repeats`` times; every other round goes backwards, so that nobody always follows
    the same one. The first round warms up and does not count.

    Args:
        calls: what to time, by name.
        device: where it runs.
        rounds: how many are counted, at least 2.
        repeats: how often a round calls each, before it waits for the device.
        clock: tells the seconds.

    Raises:
        ValueError: there are fewer than two rounds, or no repeat.
    """
    require_positive_int(rounds=rounds, repeats=repeats)
    if rounds < 2:
        raise ValueError(f"rounds (={rounds}) must be at least 2, or there is no spread")
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(1 + rounds):
        for name in list(calls)[:: 1 if i % 2 == 0 else -1]:
            wait(device)
            start = clock()
            for _ in range(repeats):
                calls[name]()
            wait(device)
            seconds[name].append((clock() - start) / repeats)
    return {name: summarize_rounds(values[1:]) for name, values in seconds.items()}


def captured(call: Call, device: torch.device) -> Call:
    """On CUDA, a graph of all that ``call`` launches: replayed, the host's launches take no time, however small the
    kernels. On the CPU ``call`` itself. Keep ``call`` as long as the graph: its tensors are read again.
    """
    if device.type != "cuda":
        return call
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):  # compilation and the choice of algorithms cannot be captured: they come first
        for _ in range(3):
            call()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def kernel_seconds(call: Call, device: torch.device, repeats: int = 3) -> dict[str, float]:
    """Seconds that each kernel, by name, runs on a GPU while ``call`` is executed once; what is copied counts too.

    The profiler slows what it watches, so take wall time elsewhere.
    """
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(repeats):
            call()
        wait(device)
    return _sum_by_name(profile.events() or [], repeats)


def _sum_by_name(events: Iterable[FunctionEvent], repeats: int) -> dict[str, float]:
    seconds: defaultdict[str, float] = defaultdict(float)
    for event in events:
        # An annotation spans kernels that are listed themselves.
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation:
            seconds[event.name] += event.time_range.elapsed_us() / 1e6 / repeats
    return dict(seconds)


KINDS = {
    "triton": ("triton",),
    "copy": ("copy_kernel", "memcpy", "catarray", "nchwtonhwc", "nhwctonchw"),
    "convolution": ("conv", "fprop", "dgrad", "wgrad", "winograd", "xmma", "cutlass", "cudnn", "gemm", "nvjet"),
}
"""Kernels by kind: a kernel is of the first kind of which its name holds a word, otherwise of the kind "other". Matrix
products, those of the dense layers too, count as convolutions: a 1×1 convolution is one."""


def seconds_by_kind(kernels: Mapping[str, float]) -> dict[str, float]:
    """Seconds of kernels by name -> seconds by kind."""
    seconds = dict.fromkeys([*KINDS, "other"], 0.0)
    for name, value in kernels.items():
        seconds[kind_of(name)] += value
    return seconds


def kind_of(kernel: str) -> str:
    """The kind of a kernel, by its name."""
    return next((kind for kind, words in KINDS.items() if any(word in kernel.lower() for word in words)), "other")


def fast_convolutions(device: torch.device) -> AbstractContextManager[None]:
    """While it is open, cuDNN tries its algorithms on every new shape and keeps the fastest."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=device.type == "cuda")


def copy_bandwidth(device: torch.device, *, megabytes: int = 2048, **options: Any) -> float:
    """Bytes a second that a copy of one large tensor into another moves: each is read once and written once."""
    require_positive_int(megabytes=megabytes)
    source = torch.randint(256, (megabytes * 10**6,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    timing = interleave({"copy": lambda: target.copy_(source)}, device, **options)["copy"]
    return 2 * source.numel() / timing.median
