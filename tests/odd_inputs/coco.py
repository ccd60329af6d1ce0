"""Odd folders in COCO's format."""

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from resnest_edu.transfer import open_detection_folder, open_segmentation_folder
from tests.odd_inputs.odd import Odd, Oddity, Trial, choose, damage, trial

INK = {"chat été": (255, 0, 0), "dog": (0, 255, 0)}
GROUND = (0, 0, 255)
"""An object is a rectangle of its class's colour, on blue: what the image shows is what there is to be found."""


def draw(rng: Random, names: list[str]) -> tuple[Image.Image, list[tuple[str, tuple[int, int, int, int]]]]:
    """An image, and its objects' classes and boxes x1, y1, x2, y2."""
    width, height = rng.randint(30, 50), rng.randint(30, 50)
    image, objects = Image.new("RGB", (width, height), GROUND), []
    for place, name in enumerate(rng.sample(names, rng.randint(1, len(names)))):
        x1, y1 = rng.randint(0, 8), 15 * place + rng.randint(0, 4)
        box = (x1, y1, x1 + rng.randint(3, 18), y1 + rng.randint(3, 10))
        image.paste(INK[name], box)
        objects.append((name, box))
    return image, objects


def require_what_is_seen(image: Any, boxes: Any, names: list[str], masks: Any = None) -> None:
    """Every object of the image, uint8 (3, H, W), has its box, its class and its mask."""
    pixels = image.permute(1, 2, 0).numpy()
    for name, colour in INK.items():
        seen = (pixels == np.array(colour)).all(2)
        found = np.zeros_like(seen)
        for index, (x1, y1, x2, y2) in enumerate(boxes.round().int().tolist()):
            if names[index] == name:
                found[y1:y2, x1:x2] = True
                if masks is not None and not (masks[index].numpy().astype(bool) <= seen).all():
                    raise Odd("a mask covers more than its object")
        if (found != seen).any():
            raise Odd(f"{found.sum()} pixels are said to be {name}, and {seen.sum()} are")


def require_map_of_what_is_seen(image: Any, classes: Any, names: tuple[str, ...]) -> None:
    """Every pixel of the image, uint8 (3, H, W), has its class in the map, int64 (H, W)."""
    for label, name in enumerate(names):
        seen = (image.permute(1, 2, 0).numpy() == np.array(INK.get(name, GROUND))).all(2)
        if (seen != (classes == label).numpy()).any():
            raise Odd(f"the map of {name} is not what the image shows")


@dataclass
class Coco:
    """What the file of the training images says, to be changed, and where it is."""

    root: Path
    file: dict[str, Any]
    encoding: str = "utf-8"
    text: str | None = None
    """In the place of the file's content."""

    @property
    def path(self) -> Path:
        return self.root / "annotations" / "instances_train2017.json"

    def one(self, rng: Random) -> dict[str, Any]:
        return rng.choice(self.file["annotations"])


def said(key: str, *values: Any, where: str = "annotations"):
    """One annotation, image or category says something else."""
    return lambda rng, coco: rng.choice(coco.file[where]).__setitem__(key, rng.choice(values))


def unsaid(key: str, where: str = "annotations"):
    return lambda rng, coco: rng.choice(coco.file[where]).pop(key, None)


def repeated(where: str):
    def change(rng: Random, coco: Coco) -> None:
        coco.file[where][-1]["id"] = coco.file[where][0]["id"]

    return change


def counts(change: int):
    """Run lengths that fill more or less than the image."""

    def edit(rng: Random, coco: Coco) -> None:
        one = coco.one(rng)
        height, width = size_of(coco, one)
        one["segmentation"] = {"size": [height, width], "counts": [5, height * width - 5 + change]}

    return edit


def size_of(coco: Coco, annotation: dict[str, Any]) -> tuple[int, int]:
    image = next(one for one in coco.file["images"] if one["id"] == annotation["image_id"])
    return image["height"], image["width"]


def as_runs(rng: Random, coco: Coco) -> None:
    """Masks as run lengths, compressed or not."""
    for one in coco.file["annotations"]:
        height, width = size_of(coco, one)
        x, y, w, h = map(int, one["bbox"])
        mask = np.zeros((height, width), dtype=np.uint8, order="F")
        mask[y : y + h, x : x + w] = 1
        found = rle.encode(mask)
        one["segmentation"] = {"size": [height, width], "counts": found["counts"].decode()}
        if rng.random() < 0.5:
            flat = mask.ravel(order="F")
            edges = np.flatnonzero(np.diff(flat)) + 1
            runs = np.diff([0, *edges, flat.size]).tolist()
            one["segmentation"]["counts"] = [0, *runs] if flat[0] else runs


def turned(rng: Random, coco: Coco) -> None:
    """A photograph that is to be turned, with annotations of what is stored."""
    path = coco.root / "train2017" / rng.choice(coco.file["images"])["file_name"]
    exif = Image.Exif()
    exif[0x0112] = rng.randint(2, 8)
    Image.open(path).copy().save(path, exif=exif)


def damaged(rng: Random, coco: Coco) -> None:
    damage(rng, coco.root / "train2017" / rng.choice(coco.file["images"])["file_name"])


def reshuffled(rng: Random, coco: Coco) -> None:
    for part in coco.file.values():
        rng.shuffle(part)


def far_ids(rng: Random, coco: Coco) -> None:
    for one in coco.file["annotations"]:
        one["id"] += 2**40


def unannotated(rng: Random, coco: Coco) -> None:
    """An image without objects is one."""
    Image.new("RGB", (31, 33), GROUND).save(coco.root / "train2017" / "empty.png")
    coco.file["images"].insert(0, {"id": 77, "file_name": "empty.png", "width": 31, "height": 33})


def text(*texts: str):
    return lambda rng, coco: setattr(coco, "text", rng.choice(texts))


nan, inf = float("nan"), float("inf")
POLYGON = "segmentation"
ODDITIES = {
    "byte order mark": Oddity(lambda rng, coco: setattr(coco, "encoding", "utf-8-sig")),
    "more than is needed": Oddity(said("score", 0.5, None, "x")),
    "no area": Oddity(unsaid("area")),
    "no crowd": Oddity(unsaid("iscrowd")),
    "another order": Oddity(reshuffled),
    "far ids": Oddity(far_ids),
    "run lengths": Oddity(as_runs),
    "image without objects": Oddity(unannotated),
    "no such category": Oddity(said("category_id", 99, None, "1", nan), "category_id", fatal=True),
    "no such image": Oddity(said("image_id", 999, None, "1"), "image_id", fatal=True),
    "turned photograph": Oddity(turned, "orientation"),
    "image twice": Oddity(repeated("images"), "id", fatal=True),
    "category twice": Oddity(repeated("categories"), "id", fatal=True),
    "annotation twice": Oddity(repeated("annotations"), "id"),
    "runs too short": Oddity(counts(-3), POLYGON, fatal=True),
    "runs too long": Oddity(counts(3), POLYGON, fatal=True),
    "runs of nothing": Oddity(said(POLYGON, {"size": [5, 5], "counts": []}, {"counts": "x"}), POLYGON, fatal=True),
    "no polygon": Oddity(said(POLYGON, [[1, 1, 5, 5]], [1, 1, 5, 1, 5, 5], [[[1, 1], [5, 1], [5, 5]]], [[1, 1, 5, 1, 5]]
                              ), POLYGON, fatal=True),
    "polygon of no numbers": Oddity(said(POLYGON, [["a"] * 6], [[nan] * 6], [[None] * 6], "x", 7), POLYGON, fatal=True),
    "no mask": Oddity(said(POLYGON, None, []), POLYGON, fatal=True),
    "box of no numbers": Oddity(said("bbox", None, [1, 2, 3], ["1", 2, 3, 4], [nan, 1, 2, 3], [1, 1, inf, 2], {}),
                                "bbox", fatal=True),
    "size of another image": Oddity(said("width", 7, "30", None, 31.5, where="images"), "size|width", fatal=True),
    "no file's name": Oddity(unsaid("file_name", "images"), "file_name", fatal=True),
    "file's name is a number": Oddity(said("file_name", 7, None, [], where="images"), "file_name", fatal=True),
    "lost image": Oddity(said("file_name", "lost.png", "../no.png", "", where="images"), "cannot read", fatal=True),
    "no name of a category": Oddity(unsaid("name", "categories"), "name", fatal=True),
    "damaged image": Oddity(damaged, "cannot read image", fatal=True),
    "no such file": Oddity(text("", "[]", "null", "{}", '{"images": 3}', '{"images": [', "7", '{"images": [[]]}'),
                           "instances_train2017", fatal=True),
    "other letters": Oddity(lambda rng, coco: setattr(coco, "encoding", "utf-16"), "instances_train2017"),
}  # fmt: skip


def write(rng: Random, root: Path, split: str) -> dict[str, Any]:
    names, file = list(INK), {"images": [], "annotations": [], "categories": []}  # type: ignore[var-annotated]
    file["categories"] = [{"id": 3 + 4 * index, "name": name} for index, name in enumerate(names)]
    (root / f"{split}2017").mkdir(parents=True)
    for number in range(3):
        image, objects = draw(rng, names)
        image.save(root / f"{split}2017" / f"{number}.png")
        width, height = image.size
        file["images"].append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        for name, (x1, y1, x2, y2) in objects:
            about = {"id": len(file["annotations"]) + 1, "image_id": number, "category_id": 3 + 4 * names.index(name)}
            about |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0, "area": (x2 - x1) * (y2 - y1)}
            file["annotations"].append({**about, "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]]})
    return file


def coco(number: int, root: Path) -> Trial:
    rng = Random(number)
    file = Coco(root, write(rng, root, "train"))
    test = Coco(root, write(rng, root, "val"))
    odd = choose(rng, number, ODDITIES)
    for one in odd.values():
        one.change(rng, file)
    file.path.parent.mkdir()
    file.path.write_bytes(
        (json.dumps(file.file, ensure_ascii=False) if file.text is None else file.text).encode(file.encoding)
    )
    file.path.with_name("instances_val2017.json").write_text(json.dumps(test.file))

    def attempt() -> None:
        splits = open_detection_folder(root, masks=True)
        maps = open_segmentation_folder(root)
        for index, (image, target) in enumerate(splits.train):  # type: ignore[arg-type]
            names = [splits.classes[label - 1] for label in target["labels"].tolist()]
            require_what_is_seen(image, target["boxes"], names, target["masks"])
            require_map_of_what_is_seen(*maps.train[index], maps.classes)

    return trial(odd, attempt)
