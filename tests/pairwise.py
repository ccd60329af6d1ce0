"""A grid thinned out: most faults show with two values of a grid, and need no more."""

from collections.abc import Hashable, Sequence
from itertools import combinations, product
from typing import Any


def pairwise(*factors: Sequence[Hashable]) -> list[tuple[Any, ...]]:
    """Rows of one value of each factor such that any two values of two factors stand together in one of them."""

    def pairs(row: tuple[Any, ...]) -> set[Any]:
        return set(combinations(enumerate(row), 2))

    grid, chosen = list(product(*factors)), []
    missing = set().union(*map(pairs, grid))
    while missing:
        chosen.append(max(grid, key=lambda row: len(pairs(row) & missing)))
        missing -= pairs(chosen[-1])
    return chosen
