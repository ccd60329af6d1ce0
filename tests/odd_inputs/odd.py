"""What an odd input is: something to try, and what may come of it.

The input of people is odd in ways that nobody lists. Here inputs are drawn: a good one, with one to three things about
it changed. Either what is read is right nevertheless, or the error is one line that names the cause.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

Content = Any
"""What an oddity changes; each family has its own."""


class Odd(Exception):
    """Raised by an attempt that went through, and gave something else than it must."""


@dataclass(frozen=True)
class Oddity:
    """One thing that can be odd about an input.

    Attributes:
        change: does it, in place.
        cause: a pattern of the words by which an error may name it; none where there must not be an error.
        fatal: whether there must be an error.
    """

    change: Callable[[Random, Content], object]
    cause: str = ""
    fatal: bool = False


@dataclass(frozen=True)
class Trial:
    """An input, with what is odd about it."""

    name: str
    attempt: Callable[[], None]
    causes: tuple[str, ...]
    fatal: bool


Family = Callable[[int, Path], Trial]
"""Draws the input of a number, in a folder."""


def choose(rng: Random, number: int, oddities: dict[str, Oddity], most: int = 2) -> dict[str, Oddity]:
    """From one to ``most`` of them, all in turn as the number grows; what must end in an error stays alone, or one
    error would hide the other."""
    first = list(oddities)[number % len(oddities)]
    names = [first, *rng.sample(sorted(oddities.keys() - {first}), rng.randint(0, most - 1))]
    harmless = [name for name in names if not oddities[name].fatal]
    return {name: oddities[name] for name in ([first] if oddities[first].fatal else harmless)}


def trial(names: dict[str, Oddity], attempt: Callable[[], None]) -> Trial:
    causes = tuple(one.cause for one in names.values() if one.cause)
    return Trial(" + ".join(names), attempt, causes, any(one.fatal for one in names.values()))


def plain(size: tuple[int, int], colour: Sequence[int]) -> Image.Image:
    return Image.new("RGB", size, tuple(colour))


def damage(rng: Random, path: Path) -> None:
    """Cut the file, empty it, or put something else into its place."""
    data = path.read_bytes()
    others = [b"", data[: rng.randint(1, len(data) // 2)], b"<html>not found</html>", rng.randbytes(200)]
    path.write_bytes(rng.choice(others))


def same_colour(pixels: Any, colour: Sequence[int], tolerance: int = 14) -> bool:
    """Whether the mean of uint8 (3, H, W) is this colour, up to what compression does to it."""
    mean = np.asarray(pixels, dtype=float).reshape(3, -1).mean(1)
    return bool(np.abs(mean - np.asarray(colour)).max() <= tolerance)
