"""Odd folders of classes."""

import os
import unicodedata
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from resnest_edu.data import open_image_folder
from tests.odd_inputs.odd import Odd, Oddity, Trial, choose, damage, plain, same_colour, trial

COLOURS = {"cats": (200, 40, 40), "dogs": (40, 70, 200), "été": (40, 180, 60)}
ENDINGS = ("png", "jpg", "bmp", "webp", "tif")
RARE = ("JPG", "Png", "jfif", "jpe", "gif", "BMP", "tiff", "ppm", "pcx", "tga", "TIFF", "jp2", "dib")


@dataclass
class Folders:
    """A tree of images, each of its class's colour, and how many there are of each."""

    root: Path
    parts: list[Path]
    count: dict[Path, int] = field(default_factory=dict)
    """For each folder of a class, how many images it holds."""

    def one(self, rng: Random) -> Path:
        return rng.choice(sorted(self.count))

    def add(self, rng: Random, ending: str, folder: Path | None = None) -> Path:
        folder = folder or self.one(rng)
        path = folder / f"{len(os.listdir(folder))}.{ending}"
        plain((rng.randint(8, 40), rng.randint(8, 40)), COLOURS[unicodedata.normalize("NFC", folder.name)]).save(path)
        self.count[folder] += 1
        return path


def copies(name: str):
    """A folder of copies that a program has left in a class, or beside the classes."""

    def change(rng: Random, tree: Folders) -> None:
        inside = tree.one(rng) if rng.random() < 0.6 else rng.choice(tree.parts)
        (inside / name).mkdir(exist_ok=True)
        plain((9, 9), (0, 0, 0)).save(inside / name / "copy.png")

    return change


def stray(name: str, data: bytes):
    def change(rng: Random, tree: Folders) -> None:
        place = tree.one(rng) if rng.random() < 0.7 else rng.choice(tree.parts)
        (place / name).write_bytes(data)

    return change


def rare_ending(rng: Random, tree: Folders) -> None:
    tree.add(rng, rng.choice(RARE))


def damaged(rng: Random, tree: Folders) -> None:
    damage(rng, tree.add(rng, "png"))


def odd_metadata(rng: Random, tree: Folders) -> None:
    path = tree.add(rng, "png")
    exif = rng.choice([b"Exif\0\0" + rng.randbytes(30), b"MM\0*", rng.randbytes(20), b""])
    Image.open(path).copy().save(path, exif=exif)


def extreme_shape(rng: Random, tree: Folders) -> None:
    path = tree.add(rng, "png")
    shape = rng.choice([(1, 1), (1, 3000), (3000, 1), (2, 700)])
    plain(shape, COLOURS[path.parent.name]).save(path)


def other_mode(rng: Random, tree: Folders) -> None:
    """The same colour, with alpha, a palette, or in the colours of print."""
    path = tree.add(rng, "tif")
    mode = rng.choice(["RGBA", "P", "CMYK", "YCbCr", "LAB"])
    image = Image.open(path)
    image = image.quantize(8) if mode == "P" else image.convert("RGB" if mode == "LAB" else mode)
    image.save(path)


def grey_numbers(rng: Random, tree: Folders) -> None:
    """Numbers of 32 bits, whose scale nobody has said."""
    path = tree.add(rng, "tif")
    kind = rng.choice([np.float32, np.int32])
    Image.fromarray(
        (np.random.default_rng(0).random((12, 12)) * rng.choice([1 if kind is np.float32 else 255, 65535, 1e6])).astype(
            kind
        )
    ).save(path)


def nested(rng: Random, tree: Folders) -> None:
    inside = tree.one(rng) / rng.choice(["more", "2024", "images"])
    inside.mkdir()
    plain((9, 9), (0, 0, 0)).save(inside / "a.png")


def other_splits(rng: Random, tree: Folders) -> None:
    """Only `train` is told apart by its name."""
    pairs = [("Train", "Test"), ("TRAIN", "VAL"), ("training", "testing"), ("Training", "Validation")]
    names = dict(zip(tree.parts, rng.choice(pairs), strict=False))
    if len(names) > 1:
        for part, name in names.items():
            part.rename(tree.root / f"{name}_")
            (tree.root / f"{name}_").rename(tree.root / name)
            for folder in [folder for folder in tree.count if folder.parent == part]:
                tree.count[tree.root / name / folder.name] = tree.count.pop(folder)
        tree.parts[:] = [tree.root / name for name in names.values()]


def decomposed(rng: Random, tree: Folders) -> None:
    """An accent as a letter of its own, as some file systems write it."""
    part = tree.parts[-1]
    if part / "été" in tree.count:
        there = part / unicodedata.normalize("NFD", "été")
        (part / "été").rename(there)
        tree.count[there] = tree.count.pop(part / "été")


def loop(rng: Random, tree: Folders) -> None:
    folder = tree.one(rng)
    (folder / "again").symlink_to(rng.choice([folder, folder.parent, tree.root]), target_is_directory=True)


def empty_class(rng: Random, tree: Folders) -> None:
    (rng.choice(tree.parts) / "empty").mkdir()


def lost_class(rng: Random, tree: Folders) -> None:
    folder = tree.one(rng)
    folder.rename(folder.with_name("birds"))
    if len(tree.parts) == 1:
        for path in (folder.with_name("birds")).iterdir():
            path.unlink()


JPEG_OF_A_MAC = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(60)
ODDITIES = {
    "checkpoints of notebooks": Oddity(copies(".ipynb_checkpoints")),
    "waste": Oddity(copies(".Trash-1000")),
    "thumbnails": Oddity(copies("@eaDir")),
    "what a Mac adds": Oddity(copies("__MACOSX")),
    "resource fork": Oddity(stray("._0.jpg", JPEG_OF_A_MAC)),
    "Thumbs.db": Oddity(stray("Thumbs.db", b"\xd0\xcf\x11\xe0" + bytes(40))),
    ".DS_Store": Oddity(stray(".DS_Store", bytes(40))),
    "text beside images": Oddity(stray("readme.txt", b"cats")),
    "rare ending": Oddity(rare_ending),
    "odd metadata": Oddity(odd_metadata),
    "extreme shape": Oddity(extreme_shape),
    "other mode": Oddity(other_mode),
    "other normal form": Oddity(decomposed),
    "other names of splits": Oddity(other_splits, "split|train|Train|TRAIN"),
    "link to a folder above": Oddity(loop, "folder|link"),
    "grey numbers": Oddity(grey_numbers, "mode|float|32", fatal=False),
    "damaged image": Oddity(damaged, "cannot read image", fatal=True),
    "folder in a class": Oddity(nested, "folder", fatal=True),
    "empty class": Oddity(empty_class, "empty", fatal=True),
    "class in one part alone": Oddity(lost_class, "birds", fatal=True),
}


def folders(number: int, root: Path) -> Trial:
    rng = Random(number)
    parts = (
        [root] if rng.random() < 0.3 else [root / "train", root / rng.choice(["val", "valid", "validation", "test"])]
    )
    tree = Folders(root, parts)
    for part in parts:
        for name in COLOURS:
            (part / name).mkdir(parents=True)
            tree.count[part / name] = 0
            for _ in range(rng.randint(3, 5)):
                tree.add(rng, rng.choice(ENDINGS), part / name)
    odd = choose(rng, number, ODDITIES, most=3)
    for one in odd.values():
        one.change(rng, tree)

    def attempt() -> None:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            splits = open_image_folder(root, size=8)
        if len(splits.classes) != 3:
            raise Odd(f"the classes are {splits.classes}")
        found = dict.fromkeys(splits.classes, 0)
        for data in (splits.train, splits.test):
            for image, label in data:  # type: ignore[attr-defined]
                found[splits.classes[label]] += 1
                colour = COLOURS[unicodedata.normalize("NFC", splits.classes[label])]
                grey = image[0].equal(image[1]) and "grey numbers" in odd
                if not grey and not same_colour(image, colour):
                    raise Odd(f"an image of {splits.classes[label]} has another colour")
                if grey and image.float().std() < 1:
                    raise Odd("grey numbers have become one grey")
        wanted = sum(tree.count.values())
        if sum(found.values()) != wanted and not said:
            raise Odd(f"{found} are {sum(found.values())} images, and there are {wanted}; nothing was said of it")

    return trial(odd, attempt)
