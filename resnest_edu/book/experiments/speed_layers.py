"""What do the layers that split attention adds cost, in each form that they can take?

The 3×3 convolution in groups, the average pool, and the attention tail, the last beside the time in which a copy moves
as many bytes.
"""

from typing import Any

import torch

from resnest_edu.book.speed_goals import TAIL_TARGETS, judge
from resnest_edu.speed.benchmark_layers import CONVOLUTIONS, POOLS, TAILS, convolutions, pools, tail
from resnest_edu.speed.timing import copy_bandwidth

NEEDS_CUDA = True
BATCH = 128


def run(device: torch.device) -> dict[str, Any]:
    """The rows of every table, the bandwidth of a copy in bytes a second, and the targets of the largest tail."""
    options: dict[str, Any] = {"device": device, "rounds": 15, "repeats": 20}
    bandwidth = copy_bandwidth(**options)
    tails = [row for shape in TAILS for row in tail(*shape, batch=BATCH, bandwidth=bandwidth, **options)]
    largest = next(row for row in tails if row["form"] == "accelerated, compiled")
    return {
        "bandwidth": bandwidth,
        "convolutions": [row for shape in CONVOLUTIONS for row in convolutions(*shape, batch=BATCH, **options)],
        "pools": [row for shape in POOLS for row in pools(*shape, batch=BATCH, **options)],
        "tails": tails,
        "targets": [judge(target, largest[quantity]) for quantity, target in TAIL_TARGETS.items()],
    }
