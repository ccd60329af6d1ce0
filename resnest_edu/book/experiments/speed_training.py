"""How fast do our networks and their peers train when compiled and replayed as CUDA graphs?

The fastest way to train them: the host launches one graph in place of hundreds of kernels.
"""

from typing import Any

import torch

from resnest_edu.book import speed_goals as benchmark
from resnest_edu.speed.benchmark_networks import all_cases

NEEDS_CUDA = True


def run(device: torch.device) -> dict[str, Any]:
    """All networks; see :func:`resnest_edu.book.speed_goals.run`."""
    return benchmark.run(
        all_cases(["training"], ["graphs"], 128, 224), device, seconds=benchmark.SECONDS, **benchmark.EFFORT["cuda"]
    )
