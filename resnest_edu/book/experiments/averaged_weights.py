"""Does a small network gain by a moving average of its weights, where the rate stays up and where it falls to zero?

It is trained either way from the same start, on the same scenes in the same order, with an average beside it.
"""

from typing import Any

from resnest_edu.book.experiments._small_residual import LONGER, score, train

NEEDS_CUDA = False
SEEDS = range(30)
DECAY = 0.9


def run_seed(seed: int) -> dict[str, dict[str, float]]:
    """By rate, the overlap with the true figure on new scenes, of the weights at the end and of their average."""
    options: dict[str, Any] = LONGER
    found = {}
    for rate in ("constant", "falling"):
        network, average, _ = train(seed, falling=rate == "falling", decay=DECAY, **options)
        assert average is not None
        found[rate] = {"weights": score(network), "average": score(average)}
    return found
