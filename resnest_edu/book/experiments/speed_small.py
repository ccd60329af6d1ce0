"""How much do CUDA graphs help a small network, whose kernels take less time than their launches?

The small ResNeSt on images of 32 pixels, in both of our forms, each eager and as CUDA graphs, all four in turns.
"""

from typing import Any

import torch

from resnest_edu.book.speed_goals import SMALL_TARGET, judge
from resnest_edu.speed.benchmark import compare, environment
from resnest_edu.speed.benchmark_networks import SMALL_NETWORKS, Case

NEEDS_CUDA = True


def run(device: torch.device) -> dict[str, Any]:
    """The rows, and for each form graphs ÷ eager."""
    executions = ("eager", "graphs")
    cases = [Case(name, "training", execution, 128, 32) for name in SMALL_NETWORKS for execution in executions]
    results = compare(cases, device, rounds=15, repeats=20)
    speeds = {(row["network"], row["execution"]): row["images_per_second"] for row in results["rows"]}
    ratios = {name: speeds[name, "graphs"] / speeds[name, "eager"] for name in SMALL_NETWORKS}
    targets = [{"network": name, **judge(SMALL_TARGET, ratio)} for name, ratio in ratios.items()]
    return {**environment(device), **results, "targets": targets}
