"""CIFAR-10 as it was given, and by what name it goes into a record."""

from pathlib import Path

from resnest_edu.data import ImageSplits, cifar10, open_image_folder

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
COUNTS = (50_000, 10_000)


def open_folder(folder: Path) -> ImageSplits:
    """Training and test images of 32 pixels.

    Raises:
        ValueError: the folder does not hold CIFAR-10.
    """
    if (folder / "cifar-10-batches-py").is_dir():
        return cifar10(folder)
    splits = open_image_folder(folder, size=32)
    if splits.classes != CLASSES or not (folder / "train").is_dir():
        raise ValueError(f"--data (={str(folder)!r}) must hold train and test with the classes {', '.join(CLASSES)}")
    return splits


def name(folder: Path) -> str:
    """What to call the images of ``folder`` in a record, which names no path. Compression costs accuracy, so a copy
    made of JPEG files must not be taken for the original.

    Raises:
        ValueError: the folder does not hold CIFAR-10.
    """
    splits = open_folder(folder)
    found = "CIFAR-10"
    if any(Path(path).suffix.lower() in (".jpg", ".jpeg") for path, _ in getattr(splits.train, "samples", [])):
        found += ", JPEG copy"
    counts = len(splits.train), len(splits.test)  # type: ignore[arg-type]
    return found if counts == COUNTS else f"{found}, {counts[0]:,} training and {counts[1]:,} test images of it"
