"""Real images from disk: any folder of classes, or CIFAR-10, as square RGB byte tensors."""

import copy
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Subset
from tqdm import tqdm

from resnest_edu.arguments import require_positive_int
from resnest_edu.data.class_folder import ClassFolder, Transform, class_folders, listed
from resnest_edu.data.image_files import load_image, square  # noqa: F401  # load_image was here before

NO_TEST = "no test partition: the val images"
_BLOCK = 256  # images for each task of a thread
_TRAIN = ("train", "training")
_VAL = ("val", "valid", "validation", "dev", "eval")
_TEST = ("test", "testing")


@dataclass(frozen=True)
class ImageSplits:
    """The partitions of a data set, all of the same classes.

    Attributes:
        train: to learn from; an item is (image uint8 (3, size, size), label int).
        test: to measure on; where there are but two partitions, these images choose the best epoch too.
        classes: their names.
        skipped: the files left out because they are broken.
        val: a third partition, which chooses the best epoch; None where there is none.
        held_out: how ``test`` came about, if there is no ``val``, in words.
    """

    train: Dataset[Any]
    test: Dataset[Any]
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    val: Dataset[Any] | None = None
    held_out: str = "no val partition: the test images"

    @property
    def chooses(self) -> str:
        """Which images choose the best epoch, and what its score is worth, in a line."""
        if self.val is not None:
            return "the val images choose the best epoch, whose network is measured on the test images at the end"
        return f"{self.held_out} choose the best epoch, so its score is not a result for unseen images"


def _square(image: Image.Image, size: int) -> Tensor:
    """As bytes: uint8 (3, size, size)."""
    return torch.from_numpy(np.array(square(image, size))).permute(2, 0, 1).contiguous()


def _held_out(labels: Sequence[int], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices (train, test): of each class the same share, at least one image to either side."""
    train: list[int] = []
    test: list[int] = []
    for label in sorted(set(labels)):
        members = np.flatnonzero(np.asarray(labels) == label)
        # Sorting raw words shuffles alike with every version of NumPy; a class does not depend on the others.
        words = np.random.Philox(key=seed, counter=[0, label, 0, 0]).random_raw(len(members))
        members = members[np.argsort(words, kind="stable")]
        share = min(max(round(fraction * len(members)), 1), len(members) - 1)
        test += sorted(members[:share].tolist())
        train += sorted(members[share:].tolist())
    return train, test


def _partitions(root: Path) -> list[Path]:
    """The folders of training images, of those held out, and of validation images where both are; none if one holds
    all."""
    folders: dict[str, list[Path]] = {}
    for name, folder in class_folders(root).items():
        folders.setdefault(name.lower(), []).append(folder)
    named, *held_out = ([one for name in names for one in folders.get(name, [])] for names in (_TRAIN, _TEST, _VAL))
    # A class may be called "train" (beside "ship"); a partition of that name has classes of its own.
    train = [folder for folder in named if class_folders(folder)]
    if not train and not (named and any(held_out)):
        return []
    if not train:
        first = next(one for part in reversed(held_out) for one in part)
        raise ValueError(f"root (={root}) must contain a folder for each class in {named[0].name}, {first.name}")
    if not any(held_out):
        raise ValueError(f"root (={root}) must contain one of {', '.join(_VAL + _TEST)} beside {train[0].name}")
    labelled = [[folder for folder in part if class_folders(folder)] for part in held_out]  # a flat one has no labels
    parts = [train, *filter(None, labelled if any(labelled) else held_out)]
    for one, *others in parts:
        if others:
            raise ValueError(f"root (={root}) must contain {one.name} or {others[0].name}, not both")
    return [part[0] for part in parts]


def open_image_folder(
    root: str | Path,
    *,
    size: int,
    skip_broken: bool = False,
    test_fraction: float = 0.1,
    seed: int = 0,
    transforms: tuple[Transform, Transform] | None = None,
) -> ImageSplits:
    """Open `root/train/CLASS/*` with `root/val/CLASS/*` (or valid, validation, dev, eval), `root/test/CLASS/*` or both,
    or `root/CLASS/*`.

    Of two partitions the one held out is `test`, whatever its name. In the last layout it is a share `test_fraction` of
    each class, chosen by `seed`. Every file is read that Pillow can read, hidden ones and those of operating systems
    aside; a warning counts the others.

    Every image becomes upright RGB, transparent parts white; then its shorter side is resized to `size` pixels and the
    centre cut out, unless `transforms`, for the training and for the other images, make something else of it. A broken
    file raises ValueError with its name when its item is asked for. With `skip_broken` all files are read once now, the
    broken ones left out, listed in `skipped`, and counted in a warning.

    Raises ValueError if the folder is missing or no folder, holds fewer than two classes, a class without images or one
    with folders, if there are two folders of one partition, if partitions have different classes, or if size,
    test_fraction or seed is out of range.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from resnest_edu.data import open_image_folder
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("cats", "dogs"):
        ...         Path(root, name).mkdir()
        ...         for number in range(10):
        ...             Image.new("RGB", (40, 30)).save(Path(root, name, f"{number}.png"))
        ...     splits = open_image_folder(root, size=16)
        ...     image, label = splits.train[0]
        >>> splits.classes, len(splits.train), len(splits.test), image.shape
        (('cats', 'dogs'), 18, 2, torch.Size([3, 16, 16]))
    """
    root = Path(root)
    require_positive_int(size=size)
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction (={test_fraction}) must be between 0 and 1")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed (={seed}) must be from 0 to 2**64 - 1")
    if not root.exists():
        raise ValueError(f"root (={root}) must exist")
    if not root.is_dir():
        raise ValueError(f"root (={root}) must be a folder")

    partitions, seen = _partitions(root), dict[str, Path]()
    train_transform, test_transform = transforms or [partial(_square, size=size)] * 2
    folders = [ClassFolder(partitions[0] if partitions else root, train_transform, seen)]
    for partition in partitions[1:]:
        folders.append(ClassFolder(partition, test_transform, seen))
        ours, theirs = (set(folder.classes) for folder in (folders[0], folders[-1]))
        if ours != theirs:
            raise ValueError(
                f"classes of {partition} must be those of {partitions[0].name}: missing {sorted(ours - theirs)}, "
                f"not in {partitions[0].name} {sorted(theirs - ours)}"
            )
    skipped: list[str] = []
    for folder in folders:
        folder.check_filled(1)
        if skip_broken:
            skipped += folder.drop_broken()
    for folder in folders:
        folder.check_filled(1 if partitions else 2)
    if left_out := sum((part for folder in folders for part in folder.left_out), Counter()):
        warnings.warn(f"left out {left_out.total()} file(s): {listed(left_out)}", stacklevel=2)
    if skipped:
        warnings.warn(f"skipped {len(skipped)} broken image(s), the first {skipped[0]}", stacklevel=2)
    classes = tuple(folders[0].classes)
    if partitions:
        val = folders[2] if len(folders) > 2 else None
        splits = ImageSplits(folders[0], folders[1], classes, tuple(skipped), val)
        return splits if partitions[1].name.lower() in _TEST else replace(splits, held_out=NO_TEST)
    train, test = _held_out(folders[0].targets, test_fraction, seed)
    rest = copy.copy(folders[0])  # the same files
    rest.transform = test_transform
    said = f"no val partition: the {test_fraction:.0%} held out of each class"
    return ImageSplits(Subset(folders[0], train), Subset(rest, test), classes, tuple(skipped), held_out=said)


def cifar10(root: str | Path, *, size: int = 32) -> ImageSplits:
    """Open CIFAR-10 as it is distributed: `cifar-10-batches-py` inside `root`; nothing is downloaded.

    Its 50,000 training and 10,000 test images become `size` pixels a side (https://www.cs.toronto.edu/~kriz/cifar.html).

    Raises ValueError, saying how to get the files, if one is missing or damaged, and if size is below 1.
    """
    from torchvision.datasets import CIFAR10

    require_positive_int(size=size)
    try:
        transform = partial(_square, size=size)
        train, test = (CIFAR10(root, train=part, transform=transform) for part in (True, False))
    except RuntimeError as error:
        raise ValueError(
            f"root (={root}) must contain the whole folder cifar-10-batches-py: unpack "
            "cifar-10-python.tar.gz there, or run torchvision.datasets.CIFAR10(root, download=True) once"
        ) from error
    return ImageSplits(train, test, tuple(train.classes))


def decode(dataset: Dataset[tuple[Tensor, int]], *, workers: int = 4, progress: bool = True) -> tuple[Tensor, Tensor]:
    """Read the whole of `dataset` into memory: (images uint8 (N, 3, S, S), labels int64 (N,)).

    `workers` threads read at once. The progress bar keeps silent where the output is no terminal. Raises ValueError if
    workers is below 1, the data set is empty, or a file is broken (which it names).

    Example:
        >>> from resnest_edu.data import ShapesDataset, decode
        >>> images, labels = decode(ShapesDataset(10), progress=False)
        >>> images.shape, images.dtype, labels.shape
        (torch.Size([10, 3, 32, 32]), torch.uint8, torch.Size([10]))
    """
    require_positive_int(workers=workers)
    items: Any = dataset  # `Dataset` promises no length, though every one here has it
    count = len(items)
    if count == 0:
        raise ValueError("dataset must contain at least one image")
    images = torch.empty((count, *items[0][0].shape), dtype=torch.uint8)
    labels = torch.empty(count, dtype=torch.int64)

    def read(first: int) -> int:
        last = min(first + _BLOCK, count)
        for index in range(first, last):
            images[index], labels[index] = items[index]
        return last - first

    pool = ThreadPoolExecutor(workers)
    try:
        with tqdm(total=count, unit="image", disable=None if progress else True) as bar:
            for done in pool.map(read, range(0, count, _BLOCK)):
                bar.update(done)
    finally:
        # After an error there is no point in reading the rest.
        pool.shutdown(cancel_futures=True)
    return images, labels
