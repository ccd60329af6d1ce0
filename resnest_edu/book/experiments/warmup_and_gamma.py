"""What do a warm-up and a zero start of γ buy, at which rates?

A small residual network is trained for eighty steps with and without each, at three peak rates; from a seed all twelve
start with the same convolutions and see the same scenes in the same order.
"""

from typing import Any

from resnest_edu.book.experiments._small_residual import score, train

NEEDS_CUDA = False
SEEDS = range(20)
PEAKS = (0.1, 0.4, 1.6)
WAYS: dict[str, dict[str, Any]] = {
    "γ = 1, no warm-up": {"gamma": 1, "warmup": 0},
    "γ = 1, warm-up": {"gamma": 1, "warmup": 24},
    "γ = 0, no warm-up": {"gamma": 0, "warmup": 0},
    "γ = 0, warm-up": {"gamma": 0, "warmup": 24},
}


def run_seed(seed: int) -> dict[str, dict[str, float]]:
    """By peak rate and way, the overlap with the true figure on new scenes, in per cent."""
    return {
        str(peak): {name: score(train(seed, peak=peak, **way).network) for name, way in WAYS.items()} for peak in PEAKS
    }
