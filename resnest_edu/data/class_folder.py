"""A folder of images for each class, as a data set of torchvision's that names what is wrong with it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torchvision.datasets import ImageFolder

from resnest_edu.data.images import Transform, class_names, load_image


class ClassFolder(ImageFolder):
    """The images of root/CLASS/*, in the order of the names of classes and files."""

    samples: list[tuple[str, int]]
    imgs: list[tuple[str, int]]
    targets: list[int]

    def __init__(self, root: Path, transform: Transform) -> None:
        super().__init__(root, transform=transform, loader=load_image, allow_empty=True)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        names = class_names(Path(directory))
        if not names:
            raise ValueError(f"root (={directory}) must contain a folder of images for each class")
        if len(names) < 2:
            raise ValueError(f"root (={directory}) must contain 2 or more class folders, not only {names[0]}")
        return names, {name: index for index, name in enumerate(names)}

    def drop_broken(self) -> list[str]:
        """Keep only files that can be read to their end; gives the others."""
        samples = self.samples
        with ThreadPoolExecutor() as pool:
            whole = list(pool.map(_is_whole, [path for path, _ in samples]))
        self.samples = self.imgs = [sample for sample, good in zip(samples, whole, strict=True) if good]
        self.targets = [label for _, label in self.samples]
        return [path for (path, _), good in zip(samples, whole, strict=True) if not good]

    def check_filled(self, least: int) -> None:
        """Raise if a class has fewer images than `least`."""
        for index, name in enumerate(self.classes):
            found = self.targets.count(index)
            if found < least:
                folder = Path(self.root, name)
                raise ValueError(f"class folder (={folder}) must contain {least} or more images, not {found}")


def _is_whole(path: str) -> bool:
    try:
        load_image(path)
    except ValueError:
        return False
    return True
