"""Real images from disk: any folder of classes, or CIFAR-10, as square RGB byte tensors."""

import copy
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset, Subset
from tqdm import tqdm

Transform = Callable[[Image.Image], Tensor]
"""From an upright RGB image to uint8 (3, size, size)."""

Turn = Callable[[Image.Image, int], Image.Image]
"""From an RGB image as it is stored, and its EXIF orientation (1, as it is, to 8), to one turned as it is wanted."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_BLOCK = 256  # images for each task of a thread
_HELD_OUT = (
    "val",
    "valid",
    "validation",
    "test",
)  # the best epoch is chosen on these: not on a test set, if there is another


@dataclass(frozen=True)
class ImageSplits:
    """Training and test images of the same classes; an item is (image uint8 (3, size, size), label int).

    Example:
        >>> from resnest_edu.data import ImageSplits, ShapesDataset
        >>> shapes = ShapesDataset(90), ShapesDataset(10, split="test")
        >>> splits = ImageSplits(*shapes, classes=ShapesDataset.classes)
        >>> image, label = splits.train[0]
        >>> image.shape, splits.classes[label]
        (torch.Size([3, 32, 32]), 'star')
    """

    train: Dataset[tuple[Tensor, int]]
    test: Dataset[tuple[Tensor, int]]
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()  # the files left out because they are broken


def _rgb(image: Image.Image) -> Image.Image:
    """Eight-bit RGB; what is transparent becomes white."""
    if image.mode.startswith("I"):
        # Sixteen bits a pixel: PIL's own conversion would cut every value off at 255.
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _square(image: Image.Image, size: int) -> Tensor:
    """Resize the shorter side to `size`, crop the centre: uint8 (3, size, size)."""
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def orientation_of(image: Image.Image) -> int:
    """What its EXIF metadata say; damaged ones say nothing."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # decoders raise what they like
        return 1


def load_image(path: str | Path, turn: Turn = upright) -> Image.Image:
    """The image of a file as RGB, upright unless ``turn`` does something else to it, or a ValueError that names the
    file."""
    try:
        with Image.open(path) as image:
            rgb = _rgb(image)
            return turn(rgb, orientation_of(image))
    # Decoders raise what they like, down to IndexError and struct.error, on damaged files.
    except Exception as error:
        raise ValueError(f"cannot read image {path}: {error}") from error


def class_names(folder: Path) -> list[str]:
    # Hidden folders (.ipynb_checkpoints) hold no class.
    folders = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(name for name in folders if not name.startswith("."))


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


def open_image_folder(
    root: str | Path,
    *,
    size: int,
    skip_broken: bool = False,
    test_fraction: float = 0.1,
    seed: int = 0,
    transforms: tuple[Transform, Transform] | None = None,
) -> ImageSplits:
    """Open `root/train/CLASS/*` with `root/val/CLASS/*` (or valid, validation, else test), or else `root/CLASS/*`.

    In the second layout a share `test_fraction` of each class is held out for the test, chosen by `seed`.
    Every image becomes upright RGB, transparent parts white; then its shorter side is resized to `size`
    pixels and the centre cut out, unless `transforms`, for the training and for the test images, make something
    else of it. Files are read when an item is asked for; a broken one then raises ValueError with its name. With
    `skip_broken` all files are read once now, the broken ones left out, listed in `skipped`, and counted in a
    warning.

    Raises ValueError if the folder is missing, is no folder, holds fewer than two classes or a class without
    images, if training and test have different classes, or if size, test_fraction or seed is out of range.

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
    from resnest_edu.data.class_folder import ClassFolder  # here, since it imports torchvision, which takes seconds

    root = Path(root)
    if size < 1:
        raise ValueError(f"size (={size}) must be at least 1")
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction (={test_fraction}) must be between 0 and 1")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed (={seed}) must be from 0 to 2**64 - 1")
    if not root.exists():
        raise ValueError(f"root (={root}) must exist")
    if not root.is_dir():
        raise ValueError(f"root (={root}) must be a folder")

    # A class may be called "train" (beside "ship"); a split of that name has classes of its own.
    split = (root / "train").is_dir() and bool(class_names(root / "train"))
    train_transform, test_transform = transforms or [partial(_square, size=size)] * 2
    folders = [ClassFolder(root / "train" if split else root, train_transform)]
    if split:
        test_roots = [root / name for name in _HELD_OUT if (root / name).is_dir()]
        test_roots.sort(key=lambda folder: not class_names(folder))  # a flat folder has no labels
        if not test_roots:
            raise ValueError(f"root (={root}) must contain one of {', '.join(_HELD_OUT)} beside train")
        folders.append(ClassFolder(test_roots[0], test_transform))
        missing, extra = (sorted(set(one.classes) - set(other.classes)) for one, other in (folders, reversed(folders)))
        if missing or extra:
            raise ValueError(
                f"classes of {test_roots[0]} must be those of train: missing {missing}, not in train {extra}"
            )
    skipped: list[str] = []
    for folder in folders:
        folder.check_filled(1)
        if skip_broken:
            skipped += folder.drop_broken()
    for folder in folders:
        folder.check_filled(1 if split else 2)
    if skipped:
        warnings.warn(f"skipped {len(skipped)} broken image(s), the first {skipped[0]}", stacklevel=2)
    classes = tuple(folders[0].classes)
    if split:
        return ImageSplits(folders[0], folders[1], classes, tuple(skipped))
    train, test = _held_out(folders[0].targets, test_fraction, seed)
    held_out = copy.copy(folders[0])  # the same files
    held_out.transform = test_transform
    return ImageSplits(Subset(folders[0], train), Subset(held_out, test), classes, tuple(skipped))


def cifar10(root: str | Path, *, size: int = 32) -> ImageSplits:
    """Open CIFAR-10 as it is distributed: `cifar-10-batches-py` inside `root`; nothing is downloaded.

    Its 50,000 training and 10,000 test images become `size` pixels a side (https://www.cs.toronto.edu/~kriz/cifar.html).

    Raises ValueError, saying how to get the files, if one is missing or damaged, and if size is below 1.

    Example:
        >>> from resnest_edu.data import cifar10
        >>> try:
        ...     splits = cifar10("no/such/folder")
        ... except ValueError as error:
        ...     print(str(error).partition(":")[0])
        root (=no/such/folder) must contain the whole folder cifar-10-batches-py
    """
    from torchvision.datasets import CIFAR10

    if size < 1:
        raise ValueError(f"size (={size}) must be at least 1")
    try:
        square = partial(_square, size=size)
        train, test = (CIFAR10(root, train=part, transform=square) for part in (True, False))
    except RuntimeError as error:
        raise ValueError(
            f"root (={root}) must contain the whole folder cifar-10-batches-py: unpack "
            "cifar-10-python.tar.gz there, or run torchvision.datasets.CIFAR10(root, download=True) once"
        ) from error
    return ImageSplits(train, test, tuple(train.classes))


def decode(dataset: Dataset[tuple[Tensor, int]], *, workers: int = 4, progress: bool = True) -> tuple[Tensor, Tensor]:
    """Read the whole of `dataset` into memory: (images uint8 (N, 3, S, S), labels int64 (N,)).

    `workers` threads read at once: decoding lets other threads run. The progress bar keeps silent where the
    output is no terminal. Raises ValueError if workers is below 1, the data set is empty, or a file is broken
    (which it names).

    Example:
        >>> from resnest_edu.data import ShapesDataset, decode
        >>> images, labels = decode(ShapesDataset(10), progress=False)
        >>> images.shape, images.dtype, labels.shape
        (torch.Size([10, 3, 32, 32]), torch.uint8, torch.Size([10]))
    """
    if workers < 1:
        raise ValueError(f"workers (={workers}) must be at least 1")
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
