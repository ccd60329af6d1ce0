"""Random numbers that depend on (seed, section, index) and on nothing else.

A counter-based generator can start anywhere: scene 1,000,000 costs as much as scene 0, and a scene comes out
the same in every batch. NumPy fixes the raw words of its bit generators, but neither the algorithms of its
distributions nor the last bit of `sin` or `exp`; hence the words are turned into numbers here, by operations
that IEEE 754 rounds exactly.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]  # float32 throughout; the type checker widens it at every Python number

_WORDS = 24  # the most numbers one section of a scene takes; a multiple of the 4 words of a Philox block


def uniforms(seed: int, section: int, start: int, count: int) -> Iterator[Floats]:
    """Each `next()` gives numbers in [0, 1), float32 (count,), one for each of the scenes start, start + 1, …

    A section (ground, first object, …) is a stream of its own: one more piece of clutter changes no object.
    """
    blocks = _WORDS // 4
    words = np.random.Philox(key=seed, counter=[start * blocks, section, 0, 0]).random_raw(count * _WORDS)
    numbers = (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    return iter(np.ascontiguousarray(numbers.reshape(count, _WORDS).T))


def between(low: float | Floats, high: float | Floats, number: Floats) -> Floats:
    """Move a uniform number from [0, 1) to [low, high)."""
    return np.asarray(low + (high - low) * number, dtype=np.float32)


def choose(options: int, number: Floats) -> NDArray[np.int64]:
    """A uniform choice among 0 … options - 1, int64."""
    return (number * np.float32(options)).astype(np.int64)


def direction(octant: Floats, along: Floats) -> tuple[Floats, Floats]:
    """A unit vector (cosine, sine), close to uniform over the circle, from two uniform numbers.

    The rational parametrisation (1 - t²)/(1 + t²), 2t/(1 + t²) needs no trigonometry. Over an eighth of the
    circle it is uniform within 15 %; the other seven eighths are its mirror images.
    """
    t = along * np.float32(0.41421356)  # tan(π/8)
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    mirror = choose(8, octant)
    swapped = (mirror & 4) > 0
    cosine, sine = np.where(swapped, sine, cosine), np.where(swapped, cosine, sine)
    return np.where(mirror & 1, -cosine, cosine), np.where(mirror & 2, -sine, sine)
