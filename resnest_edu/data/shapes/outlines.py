"""Outlines as depths: how far inside a shape a point lies, in radii of the circle around the shape.

A depth is positive inside, zero on the outline, negative outside. Depth times the radius in pixels, shifted
by a half and clipped to [0, 1], is about the share of a pixel that the shape covers: one formula gives both
the mask and the smooth edge.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnest_edu.data.shapes.random_numbers import Floats


@dataclass(frozen=True)
class Pose:
    """Where figures lie: centre and radius in image sides, direction of their u axis; float32 (B,)."""

    x: Floats
    y: Floats
    radius: Floats
    cosine: Floats
    sine: Floats

    def coordinates(self, across: Floats, down: Floats) -> tuple[Floats, Floats]:
        """Own coordinates (u, v), float32 (B, H, W), of columns at `across` (W,) and rows at `down` (H,)."""
        x = (across - self.x[:, None]) / self.radius[:, None]
        y = (down - self.y[:, None]) / self.radius[:, None]
        cosine, sine = self.cosine[:, None], self.sine[:, None]
        # The map is affine: one addition per pixel, everything else per row or column.
        u = (x * cosine)[:, None, :] + (y * sine)[:, :, None]
        v = (y * cosine)[:, :, None] - (x * sine)[:, None, :]
        return u, v

    def within(self, outer: "Pose") -> "Pose":
        """This pose, given in the coordinates of `outer`, in the coordinates in which `outer` is given."""
        return Pose(
            outer.x + outer.radius * (outer.cosine * self.x - outer.sine * self.y),
            outer.y + outer.radius * (outer.sine * self.x + outer.cosine * self.y),
            outer.radius * self.radius,
            outer.cosine * self.cosine - outer.sine * self.sine,
            outer.sine * self.cosine + outer.cosine * self.sine,
        )


def _disk(u: Floats, v: Floats) -> Floats:
    return 1 - np.sqrt(u * u + v * v)


def _ring(u: Floats, v: Floats) -> Floats:
    return 0.24 - np.abs(np.sqrt(u * u + v * v) - 0.76)


def _square(u: Floats, v: Floats) -> Floats:
    return 0.70710678 - np.maximum(np.abs(u), np.abs(v))


def _triangle(u: Floats, v: Floats) -> Floats:
    return 0.5 - np.maximum(v, 0.8660254 * np.abs(u) - 0.5 * v)


def _star(u: Floats, v: Floats) -> Floats:
    # The pentagram: a point is in it if at most one of five lines cuts it off: the second smallest depth.
    smallest = 0.30901699 - v
    second = np.full_like(u, 2)
    for a, b in ((0.95105652, 0.30901699), (0.58778525, -0.80901699)):
        for sign in (a, -a):
            depth = 0.30901699 - sign * u - b * v
            second = np.minimum(second, np.maximum(smallest, depth))
            smallest = np.minimum(smallest, depth)
    return second


def _cross(u: Floats, v: Floats) -> Floats:
    u, v = np.abs(u), np.abs(v)
    return np.minimum(0.28 - np.minimum(u, v), 0.96 - np.maximum(u, v))


def _crescent(u: Floats, v: Floats) -> Floats:
    vv = v * v
    bite = np.sqrt((u - 0.5) * (u - 0.5) + vv) - 0.8
    return np.minimum(1 - np.sqrt(u * u + vv), bite)


def _bowtie(u: Floats, v: Floats) -> Floats:
    u, v = np.abs(u), np.abs(v)
    return np.minimum(0.8 - u, 0.85749293 * (0.12 + 0.6 * u - v))


_OUTLINES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "disk": _disk,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "crescent": _crescent,
    "bowtie": _bowtie,
}
SHAPE_CLASSES: tuple[str, ...] = tuple(_OUTLINES)
OUTSIDE = -1e3  # the depth of every point in a figure that is not there


@dataclass(frozen=True)
class Shapes:
    """Figures of the classes; `classes`, int64 (B,), is -1 for a figure that is not there."""

    classes: NDArray[np.int64]

    def depth(self, u: Floats, v: Floats) -> Floats:
        """Depth of the points (u, v), each float32 (B, H, W)."""
        depth = np.full_like(u, OUTSIDE)
        for index, outline in enumerate(_OUTLINES.values()):
            rows = np.flatnonzero(self.classes == index)
            if rows.size:
                across, down = u[rows], v[rows]
                # All lie in the unit circle: cut there, or edges run on into spikes beyond a sharp tip.
                depth[rows] = np.minimum(outline(across, down), _disk(across, down))
        return depth


@dataclass(frozen=True)
class Pieces:
    """Bars, wedges, pills, pears and arcs: figures of no class, of length 2. Each field is float32 (B,)."""

    thickness: Floats  # half the width; OUTSIDE for a piece that is not there
    taper: Floats  # how much wider one end is than the other
    bend: Floats
    boxy: Floats  # straight ends if at least a half, else round ones

    def depth(self, u: Floats, v: Floats) -> Floats:
        """Depth of the points (u, v), each float32 (B, H, W)."""
        thickness, taper, bend, boxy = (
            field[:, None, None] for field in (self.thickness, self.taper, self.bend, self.boxy)
        )
        v = np.abs(v + bend * (u * u))
        along = np.maximum(np.abs(u) - (1 - thickness), 0)
        beyond = np.where(boxy >= 0.5, np.maximum(along, v), np.sqrt(along * along + v * v))
        # Far out the taper would open the wedge again: it ends where the piece does.
        width = thickness * (1 + taper * np.clip(u, -1, 1))
        return np.minimum(width - beyond, 1.0 - np.abs(u))
