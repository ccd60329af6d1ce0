"""What a figure looks like: two colours mixed by a pattern, laid over the picture with a soft shadow.

Lightness is luma, 0.299 R + 0.587 G + 0.114 B, each colour in [0, 1].
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnest_edu.data.shapes.outlines import Pose
from resnest_edu.data.shapes.random_numbers import Floats, between, choose, direction

CONTRAST = 0.25  # the least difference in luma between any colour of an object and any of the ground
DARKEST, LIGHTEST = 0.1, 0.92
_SHADOW = 0.3  # how much darker the picture is right beside a figure
_GRAIN = 12 / 255  # from the darkest to the lightest grain

# A pattern is a form in a and b, the distances (0 to a half) from the middle of a cell along its two axes:
# constant + of_a · a + of_ab · (a - 1/4)(b - 1/4) + of_squares · (a² + b²), 0 where the two colours meet.
_PATTERNS = np.array(
    [
        [-0.25, 1.0, 0.0, 0.0],  # stripes
        [0.0, 0.0, 4.0, 0.0],  # checks
        [0.15, 0.0, 0.0, -1.67],  # dots of radius 0.3
        [-0.25, 1.0, 0.0, 0.0],  # gradient: a single wide stripe, out of focus
        [-1.0, 0.0, 0.0, 0.0],  # plain
    ],
    dtype=np.float32,
)
_GRADIENT = 3


@dataclass(frozen=True)
class Surfaces:
    """Two colours, float32 (B, 3), the pattern mixing them, int64 (B,), and its cells (radius = period)."""

    first: Floats
    second: Floats
    pattern: NDArray[np.int64]
    cells: Pose


def colour(luma: Floats, hue: Floats, saturation: Floats) -> Floats:
    """The colour, float32 (B, 3), of this luma; saturation 1 is the most vivid there is for hue and luma."""
    turned = [hue + turn for turn in (0, 2 / 3, 1 / 3)]
    pure = [np.clip(np.abs((turn - np.floor(turn)) * 6 - 3) - 1, 0, 1) for turn in turned]
    grey = 0.299 * pure[0] + 0.587 * pure[1] + 0.114 * pure[2]
    tints = [channel - grey for channel in pure]
    room = [np.where(tint > 0, 1 - luma, luma) / np.maximum(np.abs(tint), 1e-3) for tint in tints]
    reach = saturation * np.minimum(np.minimum(room[0], room[1]), room[2])
    return np.stack([luma + reach * tint for tint in tints], axis=1).astype(np.float32)


def surfaces(draw: Iterator[Floats], luma: Floats, second_luma: Floats, pose: Pose, period: float) -> Surfaces:
    """Surfaces of these lumas, drawn at random, with a pattern that moves, turns and grows with `pose`.

    The period is `period` to twice `period`, in radii of the pose.
    """
    hue, step, saturation = next(draw), next(draw), between(0.35, 1, next(draw))
    pattern = choose(len(_PATTERNS), next(draw))
    length = between(period, 2 * period, next(draw))
    length = np.where(pattern == _GRADIENT, np.float32(4), length)
    cells = Pose(next(draw) * length, next(draw) * length, length, *direction(next(draw), next(draw)))
    return Surfaces(
        colour(luma, hue, saturation),
        colour(second_luma, hue + between(-0.15, 0.15, step), saturation),
        pattern,
        cells.within(pose),
    )


def _mixture(surface: Surfaces, grid: Floats) -> Floats:
    """Share of the second colour in each pixel, float32 (B, H, W) in [0, 1]."""
    constant, of_a, of_ab, of_squares = (column[:, None, None] for column in _PATTERNS[surface.pattern].T)
    a, b = surface.cells.coordinates(grid, grid)
    for distance in (a, b):
        distance -= np.floor(distance)
        distance -= 0.5
        np.abs(distance, out=distance)
    # One pixel from colour to colour, but for the gradient, which takes half a period.
    pixels = np.where(surface.pattern == _GRADIENT, 2, surface.cells.radius * len(grid))[:, None, None]
    pixels = pixels.astype(np.float32)
    value = (of_squares * pixels) * (a * a + b * b)
    value += (of_a * pixels) * a
    a -= 0.25
    b -= 0.25
    a *= b
    a *= of_ab * pixels
    value += a
    value += constant * pixels + 0.5
    return np.clip(value, 0, 1, out=value)


def ground(surface: Surfaces, grid: Floats) -> Floats:
    """A picture, float32 (B, 3, H, W) in [0, 1], all one surface; `grid` (W,) holds the pixel centres."""
    mixture = _mixture(surface, grid)[:, None]
    first, second = surface.first[:, :, None, None], surface.second[:, :, None, None]
    return first + mixture * (second - first)


def paint(image: Floats, depth: Floats, surface: Surfaces, grid: Floats) -> None:
    """Lay a figure over the picture, in place; `depth`, float32 (B, H, W), in pixels."""
    cover = np.clip(depth + 0.5, 0, 1)
    # The shadow reaches a thirtieth of the side beyond the edge, at least a pixel.
    reach = max(len(grid) / 30, 1.0)
    shadow = 1 - _SHADOW * np.clip(depth / reach + 1, 0, 1)
    mixture = _mixture(surface, grid)
    for channel in range(3):
        first, second = (pair[:, channel, None, None] for pair in (surface.first, surface.second))
        below = image[:, channel]
        below *= shadow
        above = mixture * (second - first)
        above += first
        above -= below
        above *= cover
        below += above


def illuminate(image: Floats, draw: Iterator[Floats], grid: Floats) -> None:
    """Let light fall in from one side, in place: up to a fifth brighter there and a fifth darker opposite."""
    cosine, sine = direction(next(draw), next(draw))
    slope = between(0, 0.4, next(draw))
    across = (slope * cosine)[:, None] * (grid - 0.5)
    down = (slope * sine)[:, None] * (grid - 0.5)
    image *= (1 + across[:, None, :] + down[:, :, None])[:, None]


def develop(image: Floats, draw: Iterator[Floats]) -> NDArray[np.uint8]:
    """The picture as bytes, uint8 (B, 3, H, W), with a grain from an integer hash of pixel and scene."""
    size = image.shape[-1]
    bits = np.arange(size * size, dtype=np.uint32).reshape(size, size) * np.uint32(0x9E3779B1)
    bits = bits ^ (next(draw) * np.float32(2**24)).astype(np.uint32)[:, None, None]
    for shift, factor in ((15, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits ^= bits >> np.uint32(shift)
        bits *= np.uint32(factor)
    grain = (bits >> np.uint32(16)).astype(np.float32) * np.float32(_GRAIN / 65536) - np.float32(_GRAIN / 2)
    return np.floor(np.clip(image + grain[:, None], 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)
