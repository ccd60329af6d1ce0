"""How fast do our networks and their peers train and infer on a CPU?

Eager, float32, on all cores, for eight images of 128 pixels. The peer runs in both memory formats, of which the better
one counts.
"""

import os
from dataclasses import replace
from typing import Any

import torch

from resnest_edu.book import speed_goals as benchmark
from resnest_edu.provenance import provenance
from resnest_edu.speed.benchmark_networks import PEER, TASKS, all_cases

NEEDS_CUDA = False
THREADS = os.cpu_count() or 1


def run(device: torch.device) -> dict[str, Any]:
    """Both tasks; see :func:`resnest_edu.book.speed_goals.run`. Runs on the CPU even where there is a GPU."""
    cpu = torch.device("cpu")
    cases = [case for case in all_cases(TASKS, ["eager"], 8, 128) if case.network != "torchvision resnet50"]
    cases += [replace(case, channels_last=False) for case in cases if case.network == PEER]
    # What is given as the device may be a GPU, so the record is told where its figures come from.
    return {**provenance(cpu), **benchmark.run(cases, cpu, rounds=5, repeats=1)}
