"""The plan of scenes: every figure with its place and surface, before a pixel is drawn."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resnest_edu.data.shapes.colours import CONTRAST, DARKEST, LIGHTEST, Surfaces, surfaces
from resnest_edu.data.shapes.outlines import OUTSIDE, SHAPE_CLASSES, Pieces, Pose, Shapes
from resnest_edu.data.shapes.random_numbers import Floats, between, choose, direction, uniforms

_MOST = 32  # objects or pieces of clutter in a scene
_SMALLEST = 6.0  # pixels; below that a ring and a disk look alike
_NUANCE = 0.1  # how far, in luma, clutter lies from the ground; less than CONTRAST, so that objects stand out
# The sections of `uniforms`; the last three have one for each object, each occluder, each piece of clutter.
_GROUND, LIGHT, _OBJECT, _OCCLUDER, _CLUTTER = 0, 1, 2, 2 + _MOST, 2 + 2 * _MOST


@dataclass(frozen=True)
class SceneConfig:
    """What scenes look like. The defaults are the classification task: one object a scene.

    - `size`: side of the square picture in pixels, at least 8. It changes the resolution, not the scene.
    - `objects`: least and greatest number of objects in a scene, within 1 to 32.
    - `scale`: least and greatest diameter of the circle around an object, as a fraction of the picture's
      side; at least 6 pixels.
    - `enlarge`: redraw the very same scenes with every object, and the piece lying across it, this many times
      as large; at least 1, and the largest object must still fit into the picture. An object moves only as
      far as it must to stay inside.
    - `clutter`: pieces of no class behind the objects, 0 to 32.
    - `occlusion`: the greatest share of an object, 0 to 0.5, that the piece lying across it may hide; 0 draws
      no such piece. Objects in front may hide more.

    Raises ValueError if a field is out of range.

    Example:
        >>> from resnest_edu.data import SceneConfig, draw_scenes
        >>> crowded = SceneConfig(size=64, objects=(2, 5), scale=(0.2, 0.4), clutter=8)
        >>> scenes = draw_scenes(0, 3, config=crowded)
        >>> scenes.images.shape, (scenes.classes >= 0).sum(axis=1).tolist()
        ((3, 3, 64, 64), [2, 4, 5])
    """

    size: int = 32
    objects: tuple[int, int] = (1, 1)
    scale: tuple[float, float] = (0.55, 0.9)
    enlarge: float = 1.0
    clutter: int = 3
    occlusion: float = 0.15

    def __post_init__(self) -> None:
        if self.size < 8:
            raise ValueError(f"size (={self.size}) must be at least 8")
        if not 1 <= self.objects[0] <= self.objects[1] <= _MOST:
            raise ValueError(f"objects (={self.objects}) must be (least, greatest) within 1 to {_MOST}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale (={self.scale}) must be (least, greatest) above 0 and up to 1")
        if self.scale[0] * self.size < _SMALLEST:
            pixels = f"{_SMALLEST:g} pixels at size (={self.size})"
            raise ValueError(f"scale (={self.scale}) must give objects of at least {pixels}")
        if not self.enlarge >= 1:
            raise ValueError(f"enlarge (={self.enlarge}) must be at least 1")
        if self.enlarge * self.scale[1] > 1 + 1e-6:
            limit = 1 / self.scale[1]
            raise ValueError(f"enlarge (={self.enlarge}) must be at most 1 / greatest scale (={limit:.4g})")
        if not 0 <= self.clutter <= _MOST:
            raise ValueError(f"clutter (={self.clutter}) must be from 0 to {_MOST}")
        if not 0 <= self.occlusion <= 0.5:
            raise ValueError(f"occlusion (={self.occlusion}) must be from 0 to 0.5")


CLASSIFICATION = SceneConfig()


@dataclass(frozen=True)
class Figure:
    """B figures of one kind, one a scene."""

    outline: Shapes | Pieces
    pose: Pose
    surface: Surfaces

    def depth(self, grid: Floats) -> Floats:
        """Depth of every pixel in pixels, float32 (B, S, S)."""
        radius = self.pose.radius * len(grid)
        return self.outline.depth(*self.pose.coordinates(grid, grid)) * radius[:, None, None]


def pixel_centres(size: int) -> Floats:
    """Pixel centres along a side of length 1, float32 (size,)."""
    return (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)


def _frame(count: int) -> Pose:
    """The coordinates of the picture itself."""
    zero, one = np.zeros(count, dtype=np.float32), np.ones(count, dtype=np.float32)
    return Pose(zero, zero, one, one, zero)


# A lattice over an object's own coordinates, and which of its points each class covers, to measure how much
# of the object a piece hides.
_LATTICE = 2 * pixel_centres(24) - 1
_POINTS = _frame(len(SHAPE_CLASSES)).coordinates(_LATTICE, _LATTICE)
_COVERED = Shapes(np.arange(len(SHAPE_CLASSES))).depth(*_POINTS) > 0


def _piece(draw: Iterator[Floats], thickness: tuple[float, float]) -> Pieces:
    width, taper, bend = between(*thickness, next(draw)), between(-0.6, 0.6, next(draw)), next(draw) - 0.5
    return Pieces(width, taper, bend, next(draw))


def _clutter(draw: Iterator[Floats], light: Floats) -> Figure:
    """A piece of about the lightness of the ground, so that the objects stand out from both."""
    pose = Pose(next(draw), next(draw), between(0.1, 0.3, next(draw)), *direction(next(draw), next(draw)))
    luma = between(light - _NUANCE, light + _NUANCE, next(draw))
    second = between(light - _NUANCE, light + _NUANCE, next(draw))
    return Figure(_piece(draw, (0.12, 0.4)), pose, surfaces(draw, luma, second, pose, 0.4))


def _occluder(draw: Iterator[Floats], classes: NDArray[np.int64], outer: Pose, share: float) -> Figure:
    """A piece across each object, fixed to it; where it would hide more than `share`, there is none."""
    away, length = between(0.1, 0.9, next(draw)), between(0.6, 1.2, next(draw))
    cosine, sine = direction(next(draw), next(draw))
    own = Pose(away * cosine, away * sine, length, *direction(next(draw), next(draw)))
    piece = _piece(draw, (0.4 * share, 1.2 * share))
    covered = _COVERED[classes]
    hidden = covered & (piece.depth(*own.coordinates(_LATTICE, _LATTICE)) > 0)
    allowed = hidden.sum(axis=(1, 2)) <= share * covered.sum(axis=(1, 2))
    allowed &= classes >= 0
    piece = replace(piece, thickness=np.where(allowed, piece.thickness, np.float32(OUTSIDE)))
    pose = own.within(outer)
    luma = between(DARKEST, LIGHTEST, next(draw))
    second = between(DARKEST, LIGHTEST, next(draw))
    return Figure(piece, pose, surfaces(draw, luma, second, pose, 0.4))


def _placed(draw: Iterator[Floats], radius: Floats, placed: list[Pose]) -> Pose:
    """A pose inside the picture: of four places the first free one, or else the one that overlaps least."""
    room = 1 - 2 * radius
    places = [(radius + room * next(draw), radius + room * next(draw)) for _ in range(4)]
    gaps = np.zeros((4, len(radius)), dtype=np.float32)
    for gap, (x, y) in zip(gaps, places, strict=True):
        for other in placed:
            distance = np.sqrt((x - other.x) * (x - other.x) + (y - other.y) * (y - other.y))
            np.minimum(gap, distance - radius - other.radius, out=gap)
    best, scenes = gaps.argmax(axis=0), np.arange(len(radius))
    x, y = (np.stack(coordinate)[best, scenes] for coordinate in zip(*places, strict=True))
    return Pose(x, y, radius, *direction(next(draw), next(draw)))


def _enlarged(pose: Pose, factor: float) -> Pose:
    """The pose with `factor` times the radius, moved no further than it must to stay inside the picture."""
    radius = np.minimum(pose.radius * np.float32(factor), np.float32(0.5))
    x, y = (np.clip(centre, radius, 1 - radius) for centre in (pose.x, pose.y))
    return replace(pose, radius=radius, x=x, y=y)


@dataclass(frozen=True)
class Plan:
    """Everything about B scenes but their pixels; objects and their occluders run from front to back."""

    classes: NDArray[np.int64]  # (B, N), -1 where a scene has fewer objects
    ground: Surfaces
    clutter: list[Figure]
    objects: list[Figure]
    occluders: list[Figure]


def plan_scenes(start: int, count: int, seed: int, config: SceneConfig) -> Plan:
    """The plan of the scenes start, …, start + count - 1."""
    draw = uniforms(seed, _GROUND, start, count)
    light, spread = between(0.15, 0.85, next(draw)), between(-0.08, 0.08, next(draw))
    least, greatest = config.objects
    present = least + choose(greatest - least + 1, next(draw))
    ground = surfaces(draw, light - spread, light + spread, _frame(count), 0.12)
    # Objects are darker than all of the ground or lighter than all of it: so much luma is left either side.
    margin = np.abs(spread) + CONTRAST
    below, above = np.maximum(light - margin - DARKEST, 0), np.maximum(LIGHTEST - light - margin, 0)

    streams = [uniforms(seed, _OBJECT + slot, start, count) for slot in range(greatest)]
    scale = np.stack([between(*config.scale, next(stream)) for stream in streams])
    # Nearer means larger; a scene's absent objects go to the back.
    scale[np.arange(greatest)[:, None] >= present] = 0
    scale = np.maximum(-np.sort(-scale, axis=0), np.float32(config.scale[0]))
    placed: list[Pose] = []
    classes, objects, occluders = [], [], []
    for slot, stream in enumerate(streams):
        classes.append(np.where(slot < present, choose(len(SHAPE_CLASSES), next(stream)), -1))
        placed.append(_placed(stream, scale[slot] / 2, placed))
        pose = _enlarged(placed[slot], config.enlarge)
        level, step = next(stream) * (below + above), between(0.05, 0.2, next(stream))
        dark = level < below
        luma = np.where(dark, DARKEST + level, light + margin + (level - below))
        # The second colour lies further from the ground than the first.
        second = np.where(dark, np.maximum(luma - step, 0.03), np.minimum(luma + step, 0.97))
        objects.append(Figure(Shapes(classes[slot]), pose, surfaces(stream, luma, second, pose, 0.45)))
        if config.occlusion > 0:
            draw = uniforms(seed, _OCCLUDER + slot, start, count)
            occluders.append(_occluder(draw, classes[slot], pose, config.occlusion))
    sections = range(_CLUTTER, _CLUTTER + config.clutter)
    clutter = [_clutter(uniforms(seed, section, start, count), light) for section in sections]
    return Plan(np.stack(classes, axis=1), ground, clutter, objects, occluders)
