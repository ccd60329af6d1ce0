"""Where do the time and the memory of a compiled training step go?

Every row has the time of the kernels by kind (convolution, copies, what the compiler generated, other), the longest of
them by name, and the peak memory.
"""

from typing import Any

import torch

from resnest_edu.book import speed_goals as benchmark
from resnest_edu.speed.benchmark_networks import all_cases

NEEDS_CUDA = True


def run(device: torch.device) -> dict[str, Any]:
    """All networks; see :func:`resnest_edu.book.speed_goals.run`."""
    return benchmark.run(
        all_cases(["training"], ["compiled"], 128, 224), device, seconds=benchmark.SECONDS, **benchmark.EFFORT["cuda"]
    )
