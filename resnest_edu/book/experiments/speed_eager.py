"""How fast do our networks and their peers train and infer in eager mode?

The first figures to ask for, for most code is run so. ``targets`` says how ours compares with the peer.
"""

from typing import Any

import torch

from resnest_edu.book import speed_goals as benchmark
from resnest_edu.speed.benchmark_networks import all_cases

NEEDS_CUDA = True


def run(device: torch.device) -> dict[str, Any]:
    """Both tasks, all networks; see :func:`resnest_edu.book.speed_goals.run`."""
    return benchmark.run(all_cases(["training", "inference"], ["eager"], 128, 224), device, **benchmark.EFFORT["cuda"])
