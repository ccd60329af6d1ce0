"""Scenes of coloured shapes: the plan of a scene from random numbers, and its picture with every annotation."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from resnest_edu.data.draws import Floats, between, choose, direction, uniforms
from resnest_edu.data.silhouettes import OUTSIDE, SHAPE_CLASSES, Pieces, Pose, Shapes
from resnest_edu.data.surfaces import (
    CONTRAST,
    DARKEST,
    LIGHTEST,
    Surfaces,
    develop,
    ground,
    illuminate,
    paint,
    surfaces,
)

import os
CLUTTER_SPREAD = float(os.environ.get("CS",.1))
STEP=float(os.environ.get("ST",.2))
LAST_SCENE = 2**48
_MOST = 32  # objects or pieces of clutter in a scene
_SMALLEST = 6.0  # pixels; below that a ring and a disk look alike
# The sections of `uniforms`: one for the ground, then one for each object, each occluder, each piece of clutter.
_GROUND, _LIGHT, _OBJECT, _OCCLUDER, _CLUTTER = 0, 1, 2, 2 + _MOST, 2 + 2 * _MOST
_PIXELS_AT_ONCE = 2**15  # arrays of 128 KiB stay in the cache


@dataclass(frozen=True)
class SceneConfig:
    """What scenes look like. The defaults are the classification task: one object a scene.

    - `size`: side of the square picture in pixels, at least 8. It changes the resolution, not the scene.
    - `objects`: least and greatest number of objects in a scene, within 1 to 32.
    - `scale`: least and greatest diameter of the circle around an object, as a fraction of the picture's side; at least 6
      pixels.
    - `enlarge`: redraw the very same scenes with every object this many times as large; at least 1, and the largest object
      must still fit into the picture. An object moves only as far as it must to stay inside.
    - `clutter`: pieces of no class behind the objects, 0 to 32.
    - `occlusion`: the greatest share of an object, 0 to 0.5, that the piece lying across it may hide; 0 draws no such piece.
    """

    size: int = 32
    objects: tuple[int, int] = (1, 1)
    scale: tuple[float, float] = (0.4, 0.8)
    enlarge: float = 1.0
    clutter: int = 4
    occlusion: float = 0.25

    def __post_init__(self) -> None:
        if self.size < 8:
            raise ValueError(f"size (={self.size}) must be at least 8")
        if not 1 <= self.objects[0] <= self.objects[1] <= _MOST:
            raise ValueError(f"objects (={self.objects}) must be (least, greatest) with 1 <= least <= greatest <= {_MOST}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale (={self.scale}) must be (least, greatest) with 0 < least <= greatest <= 1")
        if self.scale[0] * self.size < _SMALLEST:
            raise ValueError(
                f"scale (={self.scale}) must give objects of at least {_SMALLEST:g} pixels at size (={self.size})"
            )
        if not self.enlarge >= 1:
            raise ValueError(f"enlarge (={self.enlarge}) must be at least 1")
        if self.enlarge * self.scale[1] > 1 + 1e-6:
            raise ValueError(f"enlarge (={self.enlarge}) must be at most 1 / greatest scale (={1 / self.scale[1]:.4g})")
        if not 0 <= self.clutter <= _MOST:
            raise ValueError(f"clutter (={self.clutter}) must be from 0 to {_MOST}")
        if not 0 <= self.occlusion <= 0.5:
            raise ValueError(f"occlusion (={self.occlusion}) must be from 0 to 0.5")


CLASSIFICATION = SceneConfig()


@dataclass(frozen=True)
class Scenes:
    """B pictures of side S with what is to be seen on them; N = the greatest number of objects.

    The slots of a scene run from front to back, and so from its largest object to its smallest. A slot is empty (class -1,
    box of zeros, empty mask) where the scene has fewer objects, or where others hide the object to its last pixel.
    """

    images: NDArray[np.uint8]  # (B, 3, S, S)
    labels: NDArray[np.int64]  # (B,), the class in slot 0, which is never hidden
    boxes: NDArray[np.float32]  # (B, N, 4): x1, y1, x2, y2 in pixels, tight around the visible part
    classes: NDArray[np.int64]  # (B, N), -1 in an empty slot
    instance_masks: NDArray[np.bool_]  # (B, N, S, S), the visible pixels
    semantic: NDArray[np.uint8]  # (B, S, S), 0 = background, otherwise class + 1


@dataclass(frozen=True)
class _Figure:
    outline: Shapes | Pieces
    pose: Pose
    surface: Surfaces

    def depth(self, grid: Floats) -> Floats:
        """Depth of every pixel in pixels, float32 (B, S, S)."""
        radius = self.pose.radius * len(grid)
        return self.outline.depth(*self.pose.coordinates(grid, grid)) * radius[:, None, None]


def _grid(size: int) -> Floats:
    """Pixel centres along a side of length 1."""
    return (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)


def _frame(count: int) -> Pose:
    """The coordinates of the picture itself."""
    zero, one = np.zeros(count, dtype=np.float32), np.ones(count, dtype=np.float32)
    return Pose(zero, zero, one, one, zero)


# A lattice over an object's own coordinates, and which of its points each class covers: to measure how much a piece hides.
_LATTICE = 2 * _grid(24) - 1
_COVERED = Shapes(np.arange(len(SHAPE_CLASSES))).depth(*_frame(len(SHAPE_CLASSES)).coordinates(_LATTICE, _LATTICE)) > 0


def _piece(draw: Iterator[Floats], thickness: tuple[float, float]) -> Pieces:
    return Pieces(
        between(*thickness, next(draw)), between(-0.6, 0.6, next(draw)), between(-0.5, 0.5, next(draw)), next(draw)
    )


def _clutter(draw: Iterator[Floats], light: Floats) -> _Figure:
    """A piece of about the lightness of the ground, so that the objects stand out from both."""
    pose = Pose(next(draw), next(draw), between(0.1, 0.3, next(draw)), *direction(next(draw), next(draw)))
    luma = between(light - CLUTTER_SPREAD, light + CLUTTER_SPREAD, next(draw))
    second = between(light - CLUTTER_SPREAD, light + CLUTTER_SPREAD, next(draw))
    return _Figure(_piece(draw, (0.12, 0.4)), pose, surfaces(draw, luma, second, pose, 0.4))


def _occluder(draw: Iterator[Floats], shape: _Figure, greatest_share: float) -> _Figure:
    """A piece across the figure, fixed to it; where it would hide more than it may, there is none."""
    assert isinstance(shape.outline, Shapes)
    away, length = between(0.1, 0.9, next(draw)), between(0.6, 1.2, next(draw))
    cosine, sine = direction(next(draw), next(draw))
    own = Pose(away * cosine, away * sine, length, *direction(next(draw), next(draw)))
    piece = _piece(draw, (0.4 * greatest_share, 1.2 * greatest_share))
    covered = _COVERED[shape.outline.classes]
    hidden = (covered & (piece.depth(*own.coordinates(_LATTICE, _LATTICE)) > 0)).sum(axis=(1, 2))
    allowed = hidden <= greatest_share * covered.sum(axis=(1, 2))
    allowed &= shape.outline.classes >= 0
    piece = replace(piece, thickness=np.where(allowed, piece.thickness, np.float32(OUTSIDE)))
    pose = own.within(shape.pose)
    luma = between(DARKEST, LIGHTEST, next(draw))
    second = between(DARKEST, LIGHTEST, next(draw))
    return _Figure(piece, pose, surfaces(draw, luma, second, pose, 0.4))


def _placed(draw: Iterator[Floats], radius: Floats, placed: list[Pose]) -> Pose:
    """A pose inside the picture: of four places the first that is free, or else the one that overlaps least."""
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
    radius = np.minimum(pose.radius * np.float32(factor), 0.5)
    return replace(
        pose, radius=radius, x=np.clip(pose.x, radius, 1 - radius), y=np.clip(pose.y, radius, 1 - radius)
    )


@dataclass(frozen=True)
class _Plan:
    """Everything about some scenes but their pixels."""

    ground: Surfaces
    clutter: list[_Figure]
    objects: list[_Figure]  # slot by slot, so from front to back
    occluders: list[_Figure]


def _plan(start: int, count: int, seed: int, config: SceneConfig) -> _Plan:
    draw = uniforms(seed, _GROUND, start, count)
    light, spread = between(0.15, 0.85, next(draw)), between(-0.08, 0.08, next(draw))
    least, greatest = config.objects
    present = least + choose(greatest - least + 1, next(draw))
    ground_surface = surfaces(draw, light - spread, light + spread, _frame(count), 0.12)
    # Objects are darker than all of the ground or lighter than all of it: this much luma is left for them on either side.
    lightest_dark, darkest_light = light - np.abs(spread) - CONTRAST, light + np.abs(spread) + CONTRAST
    below, above = np.maximum(lightest_dark - DARKEST, 0), np.maximum(LIGHTEST - darkest_light, 0)

    streams = [uniforms(seed, _OBJECT + slot, start, count) for slot in range(greatest)]
    scale = np.stack([between(*config.scale, next(stream)) for stream in streams])
    # Nearer means larger; a scene's absent objects go to the back.
    scale[np.arange(greatest)[:, None] >= present] = 0
    scale = np.maximum(-np.sort(-scale, axis=0), config.scale[0])
    placed: list[Pose] = []
    objects, occluders = [], []
    for slot, stream in enumerate(streams):
        classes = np.where(slot < present, choose(len(SHAPE_CLASSES), next(stream)), -1)
        placed.append(_placed(stream, scale[slot] / 2, placed))
        pose = _enlarged(placed[-1], config.enlarge)
        level, step = next(stream) * (below + above), between(0.05, STEP, next(stream))
        dark = level < below
        luma = np.where(dark, DARKEST + level, darkest_light + (level - below))
        second = np.where(dark, np.maximum(luma - step, 0.03), np.minimum(luma + step, 0.97))
        objects.append(_Figure(Shapes(classes), pose, surfaces(stream, luma, second, pose, 0.45)))
        if config.occlusion > 0:
            draw = uniforms(seed, _OCCLUDER + slot, start, count)
            occluders.append(_occluder(draw, objects[-1], config.occlusion))
    clutter = [_clutter(uniforms(seed, _CLUTTER + index, start, count), light) for index in range(config.clutter)]
    return _Plan(ground_surface, clutter, objects, occluders)


def _boxes(masks: NDArray[np.bool_]) -> Floats:
    """Tight boxes, float32 (..., 4), of masks (..., S, S); zeros for an empty mask."""
    columns, rows = masks.any(axis=-2), masks.any(axis=-1)
    size = masks.shape[-1]
    first = [line.argmax(axis=-1) for line in (columns, rows)]
    last = [size - line[..., ::-1].argmax(axis=-1) for line in (columns, rows)]
    return np.stack(first + last, axis=-1).astype(np.float32) * columns.any(axis=-1)[..., None]


def _draw_some(start: int, count: int, seed: int, config: SceneConfig) -> Scenes:
    plan, grid = _plan(start, count, seed, config), _grid(config.size)
    image = ground(plan.ground, grid)
    for piece in plan.clutter:
        paint(image, piece.depth(grid), piece.surface, grid)
    slots = len(plan.objects)
    owner = np.full((count, config.size, config.size), slots, dtype=np.uint8)  # the slot seen in each pixel; `slots`: none
    for slot in reversed(range(slots)):
        depth = plan.objects[slot].depth(grid)
        paint(image, depth, plan.objects[slot].surface, grid)
        owner[depth >= 0] = slot
        if plan.occluders:
            depth = plan.occluders[slot].depth(grid)
            paint(image, depth, plan.occluders[slot].surface, grid)
            owner[depth >= 0] = slots
    draw = uniforms(seed, _LIGHT, start, count)
    illuminate(image, draw, grid)

    masks = owner[:, None] == np.arange(slots, dtype=np.uint8)[:, None, None]
    planned = np.stack([shape.outline.classes for shape in plan.objects], axis=1)
    classes = np.where(masks.any(axis=(2, 3)), planned, -1)
    palette = np.concatenate([classes + 1, np.zeros((count, 1), dtype=np.int64)], axis=1).astype(np.uint8)
    semantic = palette[np.arange(count)[:, None, None], owner]
    return Scenes(develop(image, draw), classes[:, 0], _boxes(masks), classes, masks, semantic)


def draw_scenes(start: int, count: int, *, seed: int = 0, config: SceneConfig = CLASSIFICATION) -> Scenes:
    """Draw the scenes start, start + 1, …, start + count - 1 of the endless sequence that `seed` and `config` name.

    A scene depends on `seed`, its number and `config` alone: not on the batch it is drawn in, nor on the machine.

    Raises ValueError if start or count is negative, the last scene is not below 2**48, or the seed is not from 0 to 2**64 - 1.
    """
    if start < 0:
        raise ValueError(f"start (={start}) must be at least 0")
    if count < 0:
        raise ValueError(f"count (={count}) must be at least 0")
    if start + count > LAST_SCENE:
        raise ValueError(f"start + count (={start + count}) must be at most {LAST_SCENE}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed (={seed}) must be from 0 to 2**64 - 1")
    size, slots = config.size, config.objects[1]
    scenes = Scenes(
        np.empty((count, 3, size, size), dtype=np.uint8),
        np.empty(count, dtype=np.int64),
        np.empty((count, slots, 4), dtype=np.float32),
        np.empty((count, slots), dtype=np.int64),
        np.empty((count, slots, size, size), dtype=np.bool_),
        np.empty((count, size, size), dtype=np.uint8),
    )
    step = max(1, _PIXELS_AT_ONCE // size**2)
    for first in range(0, count, step):
        some = _draw_some(start + first, min(step, count - first), seed, config)
        for field in fields(Scenes):
            getattr(scenes, field.name)[first : first + step] = getattr(some, field.name)
    return scenes
