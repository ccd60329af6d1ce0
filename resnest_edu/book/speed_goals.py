"""What the fast form is to reach beside its peers, and whether it does."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from resnest_edu.speed.benchmark import EFFORT, compare, environment
from resnest_edu.speed.benchmark_networks import CHOSEN, OURS, PEER, Case

__all__ = ["EFFORT", "SECONDS", "Target", "judge", "judge_networks", "run"]

SECONDS = 400.0
"""After which an experiment prepares no further network, so that it ends before nine minutes are over."""


@dataclass(frozen=True)
class Target:
    """A ratio that should be at least ``limit``, or at most if ``at_most``."""

    name: str
    limit: float
    at_most: bool = False


NETWORK_TARGETS: dict[str, dict[tuple[str, str, str], Target]] = {
    "cuda": {
        ("training", "eager", "images_per_second"): Target("training speed, eager", 1.5),
        ("training", "graphs", "images_per_second"): Target("training speed, CUDA graphs", 1.3),
        ("inference", "eager", "images_per_second"): Target("inference speed, eager", 1.7),
        ("inference", "graphs", "images_per_second"): Target("inference speed, CUDA graphs", 1.2),
        ("training", "compiled", "peak_gib"): Target("peak memory of training, compiled", 0.9, at_most=True),
    },
    "cpu": {
        ("training", "eager", "images_per_second"): Target("training speed, eager", 1.1),
        ("inference", "eager", "images_per_second"): Target("inference speed, eager", 1.1),
    },
}
"""Ours ÷ the peer's, by the type of device, then task, execution and the row's quantity. Those of "cuda" are meant for
one H200 and 128 images of 224 pixels, those of "cpu" for two cores."""

TAIL_TARGETS = {
    "forward_share": Target("attention tail, forward: share of the bandwidth of a copy", 0.6),
    "both_share": Target("attention tail, forward and backward: share of the bandwidth of a copy", 0.5),
}
"""For 64 channels, 56 · 56 positions, radix 2, by the row's quantity."""

SMALL_TARGET = Target("training speed of a small network on 32 pixels: CUDA graphs ÷ eager", 4.0)


def judge(target: Target, ratio: float) -> dict[str, Any]:
    """The target beside what was measured, as plain values."""
    met = ratio <= target.limit if target.at_most else ratio >= target.limit
    return {"target": target.name, "limit": target.limit, "at_most": target.at_most, "ratio": ratio, "met": met}


def judge_networks(
    rows: Sequence[Mapping[str, Any]], device_type: str, *, ours: str, peer: str
) -> list[dict[str, Any]]:
    """Every target for which ``rows`` has both sides. Where one side was run in several ways, say in both memory
    formats, its best counts."""
    judged = []
    for (task, execution, quantity), target in NETWORK_TARGETS[device_type].items():
        best = {}
        for name in (ours, peer):
            key = {"network": name, "task": task, "execution": execution}
            values = [row[quantity] for row in rows if key.items() <= row.items()]
            if values:
                best[name] = min(values) if target.at_most else max(values)
        if len(best) == 2:
            judged.append(judge(target, best[ours] / best[peer]))
    return judged


def run(cases: Sequence[Case], device: torch.device, **options: Any) -> dict[str, Any]:
    """Compare each group of ``cases`` of one task and one execution, and judge the targets; plain values.

    Args:
        cases: what to run.
        device: where.
        options: of :func:`~resnest_edu.speed.benchmark.compare`; its ``seconds`` are those of all groups together.
    """
    end = time.monotonic() + options.pop("seconds", math.inf)
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    for group in dict.fromkeys((case.task, case.execution) for case in cases):
        members = [case for case in cases if (case.task, case.execution) == group]
        found = compare(members, device, seconds=end - time.monotonic(), **options)
        rows += found["rows"]
        skipped |= found["skipped"]
    targets = [
        {"network": ours, **target}
        for ours in (OURS, CHOSEN)
        for target in judge_networks(rows, device.type, ours=ours, peer=PEER)
    ]
    return {**environment(device), "rows": rows, "skipped": skipped, "targets": targets}
