"""What do more splits buy, and more cardinal groups?

A network with one block tells figure from ground, with four settings of R and K at the same width. A seed decides the
first weights and the order of the images.
"""

from functools import partial
from typing import Any

from resnest_edu import RadixMajorSplitAttention
from resnest_edu.book.experiments._one_block import CHANNELS, overlap_on_new_scenes, trained

NEEDS_CUDA = False
SEEDS = range(30)
SETTINGS = {
    "R = 1, K = 1": (1, 1),
    "R = 2, K = 1": (2, 1),
    "R = 4, K = 1": (4, 1),
    "R = 2, K = 2": (2, 2),
}


def middle(radix: int, cardinality: int) -> RadixMajorSplitAttention:
    return RadixMajorSplitAttention(CHANNELS, CHANNELS, radix=radix, cardinality=cardinality)


def run_seed(seed: int) -> dict[str, Any]:
    """Overlap with the true figure, by setting."""
    return {
        "overlap": {
            name: round(overlap_on_new_scenes(trained(partial(middle, *setting), seed)), 2)
            for name, setting in SETTINGS.items()
        }
    }
