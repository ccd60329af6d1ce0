"""Where training images come from, and how they come in batches.

Legend: B batch, N images, H height, W width.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resnest_edu.data import SceneConfig, ShapesDataset, cifar10, decode, open_image_folder
from resnest_edu.training.recipe import Recipe

Batches = Iterator[tuple[Tensor, Tensor]]

TRAIN_SHAPES, TEST_SHAPES = 12_000, 2_000

IN_MEMORY_BYTES = 2 << 30
"""An image folder that decodes to no more than this is decoded once; a larger one is read anew every epoch."""


class TensorImages(Dataset):
    """Images that fit in memory: uint8 (N, 3, H, W) beside their labels, int64 (N,)."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images (={images.dtype}, {tuple(images.shape)}) must be uint8 of shape (N, 3, H, W)")
        if len(images) != len(labels) or not len(images):
            raise ValueError(f"labels (={len(labels)}) must be as many as images (={len(images)}), at least one")
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]


def batches(data: Dataset, batch_size: int, *, generator: torch.Generator | None = None, workers: int = 0) -> Batches:
    """Yield (images uint8 (B, 3, H, W), labels int64 (B,)), shuffled if there is a generator.

    Images in memory are indexed a batch at a time; anything else goes through a DataLoader. A last batch
    of one image is left out while shuffling: batch norm cannot train on it.
    """
    if isinstance(data, TensorImages):
        order = torch.arange(len(data)) if generator is None else torch.randperm(len(data), generator=generator)
        for chosen in order.to(data.images.device).split(batch_size):
            if generator is None or len(chosen) > 1:
                yield data.images[chosen], data.labels[chosen]
    else:
        loader = DataLoader(data, batch_size, shuffle=generator is not None, generator=generator, num_workers=workers)
        for images, labels in loader:
            if generator is None or len(images) > 1:
                yield images, labels


def shapes_data(recipe: Recipe, seed: int) -> tuple[TensorImages, TensorImages]:
    """The embedded shapes in memory, drawn at the recipe's image size: training images, test images."""
    config = SceneConfig(size=recipe.image_size)
    train_shapes = ShapesDataset(TRAIN_SHAPES, seed=seed, split="train", config=config)
    test_shapes = ShapesDataset(TEST_SHAPES, seed=seed, split="test", config=config)
    return TensorImages(*train_shapes.tensors()), TensorImages(*test_shapes.tensors())


def folder_data(
    folder: Path, recipe: Recipe, *, skip_broken: bool, workers: int
) -> tuple[Dataset, Dataset, tuple[str, ...]]:
    """An image folder, or CIFAR-10 as distributed: training images, test images, class names."""
    if (folder / "cifar-10-batches-py").is_dir():
        splits = cifar10(folder, size=recipe.image_size)
    else:
        splits = open_image_folder(folder, size=recipe.image_size, skip_broken=skip_broken)
    count = len(splits.train) + len(splits.test)  # type: ignore[arg-type]
    bytes_decoded = count * 3 * recipe.image_size**2
    if bytes_decoded > IN_MEMORY_BYTES:
        return splits.train, splits.test, splits.classes
    decoded = [TensorImages(*decode(split, workers=max(1, workers))) for split in (splits.train, splits.test)]
    return decoded[0], decoded[1], splits.classes
