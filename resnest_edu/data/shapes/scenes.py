"""Scenes of coloured shapes, drawn on the spot: pictures, classes, boxes, masks, nothing to download."""

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from resnest_edu.data.shapes.colours import develop, ground, illuminate, paint
from resnest_edu.data.shapes.outlines import SHAPE_CLASSES
from resnest_edu.data.shapes.random_numbers import Floats, uniforms
from resnest_edu.data.shapes.scene_layout import CLASSIFICATION, LIGHT, SceneConfig, pixel_centres, plan_scenes

__all__ = ["SHAPE_CLASSES", "TEST_START", "SceneConfig", "Scenes", "ShapesDataset", "draw_scenes"]

TEST_START = 2**40  # the number of the first test scene; the training scenes lie below it
_PIXELS_AT_ONCE = 2**17  # the fastest measured: larger arrays leave the cache, smaller ones cost more calls


@dataclass(frozen=True)
class Scenes:
    """B pictures of side S with what is to be seen on them; N = the greatest number of objects.

    The slots of a scene run from front to back, and so from its largest object to its smallest. A slot is
    empty (class -1, box of zeros, empty mask) where the scene has fewer objects, or where others hide the
    object to its last pixel.

    Example:
        >>> from resnest_edu.data import SHAPE_CLASSES, draw_scenes
        >>> scenes = draw_scenes(0, 2)
        >>> [SHAPE_CLASSES[label] for label in scenes.labels]
        ['star', 'square']
        >>> scenes.boxes[0].tolist()
        [[3.0, 8.0, 26.0, 29.0]]
        >>> bool((scenes.instance_masks[:, 0] == (scenes.semantic > 0)).all())
        True
    """

    images: NDArray[np.uint8]  # (B, 3, S, S)
    labels: NDArray[np.int64]  # (B,), the class in slot 0, which is never hidden
    boxes: NDArray[np.float32]  # (B, N, 4): x1, y1, x2, y2 in pixels, tight around the visible part
    classes: NDArray[np.int64]  # (B, N), -1 in an empty slot
    instance_masks: NDArray[np.bool_]  # (B, N, S, S), the visible pixels
    semantic: NDArray[np.uint8]  # (B, S, S), 0 = background, otherwise class + 1


def _boxes(masks: NDArray[np.bool_]) -> Floats:
    """Tight boxes, float32 (..., 4), of masks (..., S, S); zeros for an empty mask."""
    sides = np.logical_or.reduce(masks, axis=-2), np.logical_or.reduce(masks, axis=-1)
    first = [side.argmax(axis=-1) for side in sides]
    last = [side.shape[-1] - side[..., ::-1].argmax(axis=-1) for side in sides]
    filled = np.logical_or.reduce(sides[0], axis=-1)
    return np.stack(first + last, axis=-1).astype(np.float32) * filled[..., None]


def _draw_some(start: int, count: int, seed: int, config: SceneConfig) -> Scenes:
    plan, grid = plan_scenes(start, count, seed, config), pixel_centres(config.size)
    image = ground(plan.ground, grid)
    for piece in plan.clutter:
        paint(image, piece.depth(grid), piece.surface, grid)
    slots = len(plan.objects)
    # The slot seen in each pixel; `slots` where none is.
    owner = np.full((count, config.size, config.size), slots, dtype=np.uint8)
    for slot in reversed(range(slots)):
        layers = [(plan.objects[slot], slot)]
        if plan.occluders:
            layers.append((plan.occluders[slot], slots))
        for figure, seen in layers:
            depth = figure.depth(grid)
            paint(image, depth, figure.surface, grid)
            owner[depth >= 0] = seen
    draw = uniforms(seed, LIGHT, start, count)
    illuminate(image, draw, grid)

    masks = owner[:, None] == np.arange(slots, dtype=np.uint8)[:, None, None]
    classes = np.where(masks.any(axis=(2, 3)), plan.classes, -1)
    palette = np.concatenate([classes + 1, np.zeros((count, 1), dtype=np.int64)], axis=1).astype(np.uint8)
    semantic = palette[np.arange(count)[:, None, None], owner]
    return Scenes(develop(image, draw), classes[:, 0], _boxes(masks), classes, masks, semantic)


def draw_scenes(start: int, count: int, *, seed: int = 0, config: SceneConfig = CLASSIFICATION) -> Scenes:
    """Draw the scenes start, start + 1, …, start + count - 1 of the endless sequence of `seed` and `config`.

    A scene depends on `seed`, its number and `config` alone: not on the batch it is drawn in, nor on the
    machine. `ShapesDataset` trains on the scenes from 0 and tests on those from `TEST_START`.

    Raises ValueError if start or count is negative, start + count is above 2 * `TEST_START`, or the seed is
    not from 0 to 2**64 - 1.

    Example:
        >>> from resnest_edu.data import draw_scenes
        >>> many, one = draw_scenes(0, 100), draw_scenes(41, 1)
        >>> many.images.shape, many.images.dtype
        ((100, 3, 32, 32), dtype('uint8'))
        >>> bool((many.images[41] == one.images[0]).all())  # the same in any batch
        True
    """
    if start < 0:
        raise ValueError(f"start (={start}) must be at least 0")
    if count < 0:
        raise ValueError(f"count (={count}) must be at least 0")
    if start + count > 2 * TEST_START:
        raise ValueError(f"start + count (={start + count}) must be at most {2 * TEST_START}")
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


class ShapesDataset(Dataset[tuple[Tensor, int]]):
    """Scenes for classification: item i is (image uint8 (3, S, S), class of the object in front).

    Training scene i is scene i of `draw_scenes`, test scene i is scene `TEST_START + i`; since no data set
    may have more than `TEST_START` scenes, the two never meet. An item is drawn when it is asked for; many
    at once come faster from `tensors`. `seed` chooses the endless sequence, `config` what its scenes look like.

    Raises ValueError if count is not from 1 to `TEST_START`, or split is neither "train" nor "test".

    Example:
        >>> from torch.utils.data import DataLoader
        >>> from resnest_edu.data import ShapesDataset
        >>> train, test = ShapesDataset(64), ShapesDataset(16, split="test")
        >>> image, label = train[0]
        >>> image.shape, train.classes[label]
        (torch.Size([3, 32, 32]), 'star')
        >>> images, labels = next(iter(DataLoader(train, batch_size=32)))
        >>> images.shape, labels.shape
        (torch.Size([32, 3, 32, 32]), torch.Size([32]))
    """

    classes = SHAPE_CLASSES

    def __init__(
        self,
        count: int,
        *,
        seed: int = 0,
        split: Literal["train", "test"] = "train",
        config: SceneConfig = CLASSIFICATION,
    ) -> None:
        if not 1 <= count <= TEST_START:
            raise ValueError(f"count (={count}) must be from 1 to {TEST_START}")
        if split not in ("train", "test"):
            raise ValueError(f"split (={split!r}) must be 'train' or 'test'")
        self.count, self.seed, self.split, self.config = count, seed, split, config

    def __len__(self) -> int:
        return self.count

    def _draw(self, index: int, count: int) -> Scenes:
        start = 0 if self.split == "train" else TEST_START
        return draw_scenes(start + index, count, seed=self.seed, config=self.config)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not -self.count <= index < self.count:
            raise IndexError(f"index (={index}) must be from {-self.count} to {self.count - 1}")
        scene = self._draw(index % self.count, 1)
        return torch.from_numpy(scene.images[0]), int(scene.labels[0])

    def scenes(self) -> Scenes:
        """All scenes at once, with the boxes and masks of their objects.

        Example:
            >>> from resnest_edu.data import ShapesDataset
            >>> scenes = ShapesDataset(4).scenes()
            >>> scenes.images.shape, scenes.boxes.shape
            ((4, 3, 32, 32), (4, 1, 4))
        """
        return self._draw(0, self.count)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """All scenes at once: (images uint8 (N, 3, S, S), labels int64 (N,)).

        Example:
            >>> from resnest_edu.data import ShapesDataset
            >>> images, labels = ShapesDataset(100).tensors()
            >>> images.shape, images.dtype, labels.shape
            (torch.Size([100, 3, 32, 32]), torch.uint8, torch.Size([100]))
        """
        scenes = self.scenes()
        return torch.from_numpy(scenes.images), torch.from_numpy(scenes.labels)
