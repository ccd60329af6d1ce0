"""How fast do our networks and their peers infer when compiled, launched kernel by kernel or as CUDA graphs?"""

from typing import Any

import torch

from resnest_edu.book import speed_goals as benchmark
from resnest_edu.speed.benchmark_networks import all_cases

NEEDS_CUDA = True


def run(device: torch.device) -> dict[str, Any]:
    """All networks; see :func:`resnest_edu.book.speed_goals.run`."""
    return benchmark.run(
        all_cases(["inference"], ["graphs", "compiled"], 128, 224),
        device,
        seconds=benchmark.SECONDS,
        **benchmark.EFFORT["cuda"],
    )
