"""Where training images come from, and how they come in batches.

Legend: B batch, N images, H height, W width.

What an epoch's order is, and what chance does to an image, depends on the seed, the epoch and the image alone: not on
the number of workers, nor on where a run was interrupted.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resnest_edu.arguments import plain
from resnest_edu.data import ImageSplits, SceneConfig, ShapesDataset, cifar10, decode, open_image_folder
from resnest_edu.training.augmentation import test_transform, train_transform
from resnest_edu.training.distributed import ALONE, Group
from resnest_edu.training.recipe import Recipe

Batches = Iterator[tuple[Tensor, Tensor]]
Collate = Callable[[list], Any]

TRAIN_SHAPES, TEST_SHAPES = 12_000, 2_000

IN_MEMORY_BYTES = 2 << 30
"""An image folder that decodes to no more than this is decoded once; a larger one is read anew every epoch."""


def require_labels(labels: Tensor, classes: int | None = None) -> None:
    """Raise ValueError unless labels are integers, one for each image, and below the number of ``classes``."""
    if not isinstance(labels, Tensor):
        raise ValueError(f"labels (={type(labels).__name__}) must be a tensor of integers")
    if labels.ndim != 1 or labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        hint = ": argmax(1) finds the classes of one-hot rows" if labels.ndim == 2 and labels.shape[1] > 1 else ""
        raise ValueError(f"labels (={labels.dtype}, {tuple(labels.shape)}) must be integers of shape (B,){hint}")
    if classes is not None and len(labels):
        ends = labels.long().aminmax()
        wrong = [end for end in (ends.min.item(), ends.max.item()) if not 0 <= end < classes]
        if wrong:
            raise ValueError(f"labels (={wrong[0]}) must be from 0 to {classes - 1}: the model has {classes} outputs")


def require_batch(batch: Any) -> tuple[Tensor, Tensor]:
    """Images and labels; raise ValueError unless they are bytes of shape (B, 3, H, W), or (B, 1, H, W), and integers of
    shape (B,)."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ValueError(f"items (={type(batch).__name__}) must be (image, label)")
    images, labels = batch
    if not isinstance(images, Tensor):
        raise ValueError(f"images (={type(images).__name__}) must be tensors")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        hint = ", as PILToTensor makes them: they are normalized later" if images.is_floating_point() else ""
        raise ValueError(f"images (={images.dtype}, {tuple(images.shape)}) must be uint8 of shape (B, 3, H, W){hint}")
    require_labels(labels)
    return images, labels


class TensorImages(Dataset):
    """Images that fit in memory: uint8 (N, 3, H, W) beside their labels, integers (N,), kept as int64.

    Raises:
        ValueError: the images or labels are not such tensors, there are none, or the labels are not as many.

    Example:
        >>> from resnest_edu.data import ShapesDataset
        >>> from resnest_edu.training import TensorImages
        >>> data = TensorImages(*ShapesDataset(100).tensors())
        >>> image, label = data[0]
        >>> len(data), image.shape
        (100, torch.Size([3, 32, 32]))
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        if not isinstance(images, Tensor):
            raise ValueError(f"images (={type(images).__name__}) must be a tensor")
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images (={images.dtype}, {tuple(images.shape)}) must be uint8 of shape (N, 3, H, W)")
        require_labels(labels)
        if len(images) != len(labels) or not len(images):
            raise ValueError(f"labels (={len(labels)}) must be as many as images (={len(images)}), at least one")
        self.images, self.labels = images, labels.long()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]

    def to(self, device: torch.device | str) -> "TensorImages":
        """The same images, kept on ``device``."""
        return TensorImages(self.images.to(device), self.labels.to(device))


def seed_of(*place: int | str) -> int:
    """A seed for one place in a run, such as (seed, "order", epoch): places that differ anywhere have unrelated
    seeds."""
    place = tuple(map(plain, place))  # NumPy's numbers are written in another way
    return int.from_bytes(hashlib.sha256(repr(place).encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class Plan:
    """Which of N images make up which step of a run; the seed decides their order, and a group of processes shares each
    batch.

    A last batch that would leave a process fewer than two images is left out: batch norm cannot train on one.

    Raises:
        ValueError: the images or a batch are fewer than two for each process.
    """

    images: int
    batch_size: int
    epochs: int
    seed: int
    group: Group = ALONE

    def __post_init__(self) -> None:
        least = 2 * self.group.size
        for name in ("images", "batch_size"):
            if getattr(self, name) < least:
                per = "" if self.group.size == 1 else f", two for each of {self.group.size} processes"
                raise ValueError(f"{name} (={getattr(self, name)}) must be at least {least}{per}")

    @property
    def epoch_steps(self) -> int:
        last = self.images % self.batch_size
        return math.ceil(self.images / self.batch_size) - (0 < last < 2 * self.group.size)

    @property
    def steps(self) -> int:
        return self.epochs * self.epoch_steps

    def batches(self, first: int = 0) -> Iterator[tuple[int, Tensor]]:
        """For each step from ``first`` on: its epoch, from 0, and the indices of its images, of all processes."""
        for epoch in range(first // self.epoch_steps, self.epochs):
            generator = torch.Generator().manual_seed(seed_of(self.seed, "order", epoch))
            chunks = torch.randperm(self.images, generator=generator).split(self.batch_size)[: self.epoch_steps]
            for chosen in chunks[max(0, first - epoch * self.epoch_steps) :]:
                yield epoch, chosen


class _Drawn(Dataset):
    """A data set whose chances are decided by the epoch and the image; asked for with both."""

    def __init__(self, data: Dataset, seed: int) -> None:
        self.data, self.seed = data, seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, index = key
        torch.manual_seed(seed_of(self.seed, "image", epoch, index))
        return self.data[index]


def training_batches(
    data: Dataset,
    plan: Plan,
    *,
    first: int = 0,
    workers: int = 0,
    pin_memory: bool = False,
    collate: Collate | None = None,
) -> Batches:
    """Yield this process's part of every step from ``first`` to the end of the run: (images uint8 (B, 3, H, W),
    labels int64 (B,)), or what ``collate`` makes of a list of items.

    Images in memory are indexed a batch at a time, where they lie; anything else is read by a DataLoader, whose workers
    live until the end.
    """
    if isinstance(data, TensorImages):
        for _, chosen in plan.batches(first):
            mine = plan.group.share(chosen).to(data.images.device)
            yield data.images[mine], data.labels[mine]
        return
    keys = _Keys(plan, first)
    yield from DataLoader(
        _Drawn(data, plan.seed),
        batch_sampler=keys,
        num_workers=workers,
        pin_memory=pin_memory,
        collate_fn=collate,
    )


class _Keys:
    """For each step the (epoch, index) of this process's images."""

    def __init__(self, plan: Plan, first: int) -> None:
        self.plan, self.first = plan, first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for epoch, chosen in self.plan.batches(self.first):
            yield [(epoch, index) for index in self.plan.group.share(chosen).tolist()]

    def __len__(self) -> int:
        return self.plan.steps - self.first


def evaluation_batches(
    data: Dataset, batch_size: int, *, group: Group = ALONE, workers: int = 0, collate: Collate | None = None
) -> Batches:
    """Yield this process's part of all images, in their order; see :func:`training_batches`."""
    indices = group.share(torch.arange(len(data)))  # type: ignore[arg-type]
    if isinstance(data, TensorImages):
        for chosen in indices.to(data.images.device).split(batch_size):
            yield data.images[chosen], data.labels[chosen]
    elif len(indices):
        chunks: Sequence[list[int]] = [chunk.tolist() for chunk in indices.split(batch_size)]
        yield from DataLoader(data, batch_sampler=chunks, num_workers=workers, collate_fn=collate)


def shapes_data(recipe: Recipe, seed: int) -> tuple[TensorImages, TensorImages]:
    """The embedded shapes in memory, drawn at the recipe's image size: 12,000 training images, 2,000 test images, of
    the endless sequence that is the seed's; see :func:`resnest_edu.data.draw_scenes`.

    Raises:
        ValueError: the image size is below 11 pixels, where the smallest object would have fewer than 6.
    """
    config = SceneConfig(size=recipe.image_size)
    train_shapes = ShapesDataset(TRAIN_SHAPES, seed=seed, split="train", config=config)
    test_shapes = ShapesDataset(TEST_SHAPES, seed=seed, split="test", config=config)
    return TensorImages(*train_shapes.tensors()), TensorImages(*test_shapes.tensors())


def image_splits(folder: str | Path, recipe: Recipe, *, skip_broken: bool = False, workers: int = 0) -> ImageSplits:
    """The partitions of an image folder, or of CIFAR-10 as distributed.

    What fits in memory is decoded once, unless the recipe crops: a crop is of the file, not of what is left of it.

    Args:
        folder: see :func:`resnest_edu.data.open_image_folder`; CIFAR-10 if it holds ``cifar-10-batches-py``.
        recipe: its image size and, if it crops, what chance does to an image.
        skip_broken: leave out files that cannot be read.
        workers: threads that decode.

    Raises:
        ValueError: the folder is not such a one, a file is broken, or a recipe that crops meets CIFAR-10.
    """
    if (Path(folder) / "cifar-10-batches-py").is_dir():
        if recipe.crop:
            raise ValueError(f"crop (={recipe.crop}) must be 0 for CIFAR-10: its images are small already")
        splits = cifar10(folder, size=recipe.image_size)
    else:
        transforms = (train_transform(recipe), test_transform(recipe)) if recipe.crop else None
        splits = open_image_folder(folder, size=recipe.image_size, skip_broken=skip_broken, transforms=transforms)
    parts: dict[str, Any] = {name: getattr(splits, name) for name in ("train", "test", "val")}
    count = sum(len(part) for part in parts.values() if part is not None)
    if recipe.crop or count * 3 * recipe.image_size**2 > IN_MEMORY_BYTES:
        return splits
    decoded: dict[str, Any] = {
        name: TensorImages(*decode(part, workers=max(1, workers))) for name, part in parts.items() if part is not None
    }
    return replace(splits, **decoded)


def folder_data(
    folder: str | Path, recipe: Recipe, *, skip_broken: bool = False, workers: int = 0
) -> tuple[Dataset, Dataset, tuple[str, ...]]:
    """Of :func:`image_splits`, the training images, those that choose the best epoch, and the class names."""
    splits = image_splits(folder, recipe, skip_broken=skip_broken, workers=workers)
    return splits.train, splits.test if splits.val is None else splits.val, splits.classes
