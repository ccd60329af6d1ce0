"""A folder of images for each class, walked so that nothing is read twice and nothing is left out without a word."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from resnest_edu.data.image_files import load_image, readable_endings

Transform = Callable[[Image.Image], Tensor]
"""From an upright RGB image to uint8 (3, size, size)."""

_LEFT_BY_SYSTEMS = {  # unasked, beside what people keep; in lower case
    *("__macosx", "icon\r", "network trash folder", "temporary items"),
    *("$recycle.bin", "recycler", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"),
    *("@eadir", "@recycle", "@tmp", "#recycle", "#snapshot", "lost+found", "__pycache__"),
}


def visible(folder: Path) -> list[os.DirEntry]:
    """What a folder holds, by name, without hidden files and folders and without those of operating systems."""
    with os.scandir(folder) as entries:
        kept = (one for one in entries if not one.name.startswith(".") and one.name.lower() not in _LEFT_BY_SYSTEMS)
        return sorted(kept, key=lambda entry: entry.name)


def class_folders(root: Path) -> dict[str, Path]:
    """The folders in `root` by their names, which are sorted, and composed (NFC), since file systems differ in that.

    Raises ValueError if two names are the same then.
    """
    folders: dict[str, Path] = {}
    for entry in visible(root):
        name = unicodedata.normalize("NFC", entry.name)
        if not _is_folder(entry):
            continue
        if name in folders:
            raise ValueError(f"root (={root}) must not hold two folders of one name, {name}, in two forms of Unicode")
        folders[name] = Path(entry.path)
    return dict(sorted(folders.items()))


class ClassFolder(Dataset):
    """The images of root/CLASS/*, in the order of the names of classes and files: (transformed image, label).

    `seen` has the places of what was read before, by where links lead in the end, and takes in these: a link is
    followed, but no file is read twice. Raises ValueError if there are fewer than two classes, if a class holds
    folders, or if links put a file into two of them.
    """

    def __init__(self, root: Path, transform: Transform, seen: dict[str, Path] | None = None) -> None:
        self.root, self.transform = root, transform
        folders = class_folders(root)
        if not folders:
            raise ValueError(f"root (={root}) must contain a folder of images for each class")
        if len(folders) < 2:
            raise ValueError(f"root (={root}) must contain 2 or more class folders, not only {next(iter(folders))}")
        self.classes, self.folders = list(folders), list(folders.values())
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}
        self.samples: list[tuple[str, int]] = []
        self.left_out: list[Counter[str]] = []  # of each class, by ending
        endings, seen = readable_endings(), {} if seen is None else seen
        for label, folder in enumerate(self.folders):
            images, left_out = _images(folder, endings, seen)
            self.samples += [(image, label) for image in images]
            self.left_out.append(left_out)
        if beside := sum(_ending(entry) in endings for entry in visible(root)):
            self.left_out.append(Counter({"beside the class folders": beside}))

    @property
    def targets(self) -> list[int]:
        return [label for _, label in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.samples[index]
        return self.transform(load_image(path)), label

    def identity(self) -> str:
        """Names and labels: to read all images would take too long."""
        names = [(Path(path).relative_to(self.root).as_posix(), label) for path, label in self.samples]
        return unicodedata.normalize("NFC", repr(names))

    def drop_broken(self) -> list[str]:
        """Keep only files that can be read to their end; gives the others."""
        with ThreadPoolExecutor() as pool:
            whole = list(pool.map(_is_whole, [path for path, _ in self.samples]))
        broken = [path for (path, _), good in zip(self.samples, whole, strict=True) if not good]
        self.samples = [sample for sample, good in zip(self.samples, whole, strict=True) if good]
        return broken

    def check_filled(self, least: int) -> None:
        """Raise if a class has fewer images than `least`."""
        found = Counter(self.targets)
        for label, folder in enumerate(self.folders):
            if found[label] < least:
                left = f" (left out: {listed(self.left_out[label])})" if self.left_out[label] else ""
                raise ValueError(
                    f"class folder (={folder}) must contain {least} or more images, not {found[label]}{left}"
                )


def listed(left_out: Counter[str]) -> str:
    """Such as ``3 .gif, 1 without ending``."""
    return ", ".join(f"{count} {what}" for what, count in left_out.most_common())


def _is_folder(entry: os.DirEntry) -> bool:
    """Without asking the disk, unless it is a link, which may lead in a circle."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _ending(entry: os.DirEntry) -> str:
    return os.path.splitext(entry.name)[1].lower()


def _images(folder: Path, endings: set[str], seen: dict[str, Path]) -> tuple[list[str], Counter[str]]:
    """The images of a class, and how many files are none, by ending."""
    real, entries = os.path.realpath(folder), visible(folder)
    if real in seen:
        raise ValueError(f"class folder (={folder}) must not be {seen[real]} by a link")
    seen[real] = folder
    if inner := [entry.name for entry in entries if _is_folder(entry)]:
        names = ", ".join(inner[:3]) + ", …" * (len(inner) > 3)
        raise ValueError(
            f"class folder (={folder}) must hold images, not folders ({names}): move the images up, or call the parts "
            "of the data train and test"
        )
    images, left_out = [], Counter[str]()
    for entry in entries:
        ending, link = _ending(entry), entry.is_symlink()
        place = os.path.realpath(entry.path) if link else os.path.join(real, entry.name)
        if ending not in endings:
            left_out[ending or "without ending"] += 1
        elif not (link or entry.is_file()):  # a link that leads nowhere is for the reader to find
            left_out["that are no files"] += 1
        elif seen.get(place, folder) != folder:
            raise ValueError(f"image (={entry.path}) must not be in {seen[place]} too, by a link")
        elif place in seen:
            left_out["that are links to others"] += 1
        else:
            seen[place] = folder
            images.append(entry.path)
    return images, left_out


def _is_whole(path: str) -> bool:
    try:
        load_image(path)
    except ValueError:
        return False
    return True
