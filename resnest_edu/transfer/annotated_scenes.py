"""Drawn scenes of several objects, for detection and for segmentation: nothing to download, nothing to label.

Legend: n objects, S side of a scene.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from resnest_edu.arguments import require_positive_int
from resnest_edu.data import SHAPE_CLASSES, SceneConfig, ShapesDataset
from resnest_edu.transfer.annotations import Target

Split = Literal["train", "test"]

SCENES = SceneConfig(
    size=96,
    objects=(1, 4),
    scale=(0.22, 0.5),
    clutter=3,
    occlusion=0,
)
"""One to four objects, 21 to 48 pixels across, in front of clutter; what hides them are
other objects alone."""

LEAST_PIXELS = 16
"""Of an object of which fewer pixels are to be seen than a square of four by four,
nobody can tell the class."""


class DetectionScenes(Dataset[tuple[Tensor, Target]]):
    """Scenes with the boxes and masks of their objects.

    Item i is (image uint8 (3, S, S), target); its box encloses what is to be seen of an object, and its mask is just
    that. Training scene i is scene i of :func:`~resnest_edu.data.draw_scenes`, test scene i is scene ``TEST_START +
    i``. All are drawn once and kept, about 75 kB each by default.

    Args:
        count: how many scenes.
        seed: which endless sequence they are from.
        split: ``"train"`` or ``"test"``.
        config: what they look like.
        least_pixels: an object of which fewer are visible is left out of the target.
        transform: what happens to an item each time it is asked for.

    Attributes:
        classes: their names; label 1 is the first.

    Raises:
        ValueError: an argument is not as above.

    Example:
        >>> from resnest_edu.transfer import DetectionScenes
        >>> scenes = DetectionScenes(4)
        >>> image, target = scenes[0]
        >>> image.shape, {name: tuple(field.shape) for name, field in target.items()}
        (torch.Size([3, 96, 96]), {'boxes': (1, 4), 'labels': (1,), 'masks': (1, 96, 96), 'crowd': (1,)})
        >>> [scenes.classes[label - 1] for label in target["labels"]]
        ['star']
    """

    classes = SHAPE_CLASSES

    def __init__(
        self,
        count: int,
        *,
        seed: int = 0,
        split: Split = "train",
        config: SceneConfig = SCENES,
        least_pixels: int = LEAST_PIXELS,
        transform: Callable[[Tensor, Target], tuple[Tensor, Target]] | None = None,
    ) -> None:
        require_positive_int(least_pixels=least_pixels)
        self.shapes = ShapesDataset(count, seed=seed, split=split, config=config)
        self.scenes = self.shapes.scenes()
        # An empty slot has no pixel, so this leaves it out too.
        self.kept = self.scenes.instance_masks.sum(axis=(2, 3)) >= least_pixels
        self.least_pixels, self.transform = least_pixels, transform

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        kept, scenes = self.kept[index], self.scenes
        masks = torch.from_numpy(scenes.instance_masks[index][kept])
        image = torch.from_numpy(scenes.images[index])
        target = {
            "boxes": torch.from_numpy(scenes.boxes[index][kept]),
            "labels": torch.from_numpy(scenes.classes[index][kept] + 1),
            "masks": masks.to(torch.uint8),
            "crowd": torch.zeros(int(kept.sum()), dtype=torch.bool),
        }
        return self.transform(image, target) if self.transform else (image, target)

    def identity(self) -> str:
        """Which scenes and objects these are."""
        return f"{_identity(self.shapes)}, {self.least_pixels}"


class SegmentationScenes(Dataset[tuple[Tensor, Tensor]]):
    """The same scenes with the class of every pixel.

    Item i is (image uint8 (3, S, S), map int64 (S, S)). All are drawn once and kept, about 37 kB each by default.

    Args:
        count, seed, split, config, transform: as for :class:`DetectionScenes`.

    Attributes:
        classes: their names; the first is the background, class 0.

    Raises:
        ValueError: an argument is not as above.
    """

    classes = ("background", *SHAPE_CLASSES)

    def __init__(
        self,
        count: int,
        *,
        seed: int = 0,
        split: Split = "train",
        config: SceneConfig = SCENES,
        transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        self.shapes = ShapesDataset(count, seed=seed, split=split, config=config)
        scenes = self.shapes.scenes()
        self.images = torch.from_numpy(scenes.images)
        self.maps = torch.from_numpy(scenes.semantic)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, classes = self.images[index], self.maps[index].to(torch.int64)
        return self.transform(image, classes) if self.transform else (image, classes)

    def identity(self) -> str:
        """Which scenes these are."""
        return _identity(self.shapes)


def _identity(shapes: ShapesDataset) -> str:
    return f"seed {shapes.seed}, {shapes.split}, {shapes.config}"
