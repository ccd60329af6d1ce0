"""Odd folders in PASCAL VOC's format."""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from resnest_edu.transfer import open_detection_folder, open_segmentation_folder
from tests.odd_inputs.coco import INK, draw, require_map_of_what_is_seen, require_what_is_seen
from tests.odd_inputs.odd import Oddity, Trial, choose, damage, trial


@dataclass
class Voc:
    """The training images' names, objects and files, to be changed before they are written."""

    root: Path
    texts: dict[str, str] = field(default_factory=dict)
    """For each image's name its XML file."""
    flags: str = ""
    end: str = "\n"
    encoding: str = "utf-8"

    def one(self, rng: Random) -> str:
        return rng.choice(sorted(self.texts))

    def image(self, name: str) -> Path:
        return next((self.root / "JPEGImages").glob(f"{name}.*"))

    def map(self, name: str) -> Path:
        return self.root / "SegmentationClass" / f"{name}.png"


def in_xml(old: str, *new: str):
    """Something else stands in one of the XML files."""

    def change(rng: Random, voc: Voc) -> None:
        name = voc.one(rng)
        assert old in voc.texts[name]
        voc.texts[name] = voc.texts[name].replace(old, rng.choice(new), 1)

    return change


def everywhere(old: str, new: str):
    def change(rng: Random, voc: Voc) -> None:
        voc.texts = {name: one.replace(old, new) for name, one in voc.texts.items()}

    return change


def renamed(rng: Random, voc: Voc) -> None:
    """A name with blanks, dots or letters that ASCII has not."""
    old, new = voc.one(rng), rng.choice(["my image", "a.b", "été", "IMG 20 1", "0"])
    voc.image(old).rename(voc.image(old).with_name(f"{new}.png"))
    voc.map(old).rename(voc.map(new))
    voc.texts[new] = voc.texts.pop(old)


def other_ending(rng: Random, voc: Voc) -> None:
    path = voc.image(voc.one(rng))
    Image.open(path).copy().save(path.with_suffix(rng.choice([".PNG", ".bmp", ".BMP", ".tif", ".ppm", ".tiff"])))
    path.unlink()


def turned(rng: Random, voc: Voc) -> None:
    path, exif = voc.image(voc.one(rng)), Image.Exif()
    exif[0x0112] = rng.randint(2, 8)
    Image.open(path).copy().save(path, exif=exif)


def other_map(rng: Random, voc: Voc) -> None:
    path = voc.map(voc.one(rng))
    values = np.array(Image.open(path))
    kind = rng.choice(["value", "shape", "colours", "none"])
    if kind == "none":
        path.unlink()
    elif kind == "colours":
        Image.fromarray(np.repeat(values[:, :, None], 3, 2)).save(path)
    else:
        Image.fromarray(np.full_like(values, 77) if kind == "value" else values[:-1]).save(path)


def attribute(name: str, *values: str):
    return lambda rng, voc: setattr(voc, name, rng.choice(values))


def lost(rng: Random, voc: Voc) -> None:
    voc.image(voc.one(rng)).unlink()


BOMB = '<!DOCTYPE a [<!ENTITY a "cat">' + "".join(
    f'<!ENTITY {one} "{f"&{other};" * 40}">' for one, other in zip("bcdef", "abcde", strict=True)
)
ODDITIES = {
    "flags": Oddity(attribute("flags", " 1", "  1", " -1", "\t1", " 0")),
    "line ends of Windows": Oddity(attribute("end", "\r\n", "\n\n", " \n")),
    "byte order mark": Oddity(attribute("encoding", "utf-8-sig")),
    "odd name": Oddity(renamed),
    "other ending": Oddity(other_ending),
    "no size": Oddity(lambda rng, voc: everywhere("size>", "about>")(rng, voc)),
    "not said to be difficult": Oddity(everywhere("<difficult>0</difficult>", "")),
    "comments": Oddity(everywhere("<object>", "<!-- an object --><object><pose>Left</pose>")),
    "names between blanks": Oddity(everywhere("</name>", "\n  </name>")),
    "fractions": Oddity(everywhere("</xmin>", ".0</xmin>")),
    "turned photograph": Oddity(turned, "orientation"),
    "letters of another machine": Oddity(attribute("encoding", "utf-16", "utf-32"), r"train\.txt", fatal=True),
    "no box": Oddity(in_xml("bndbox>", "box>"), "bndbox|annotation", fatal=True),
    "box of no numbers": Oddity(in_xml("<xmin>", "<xmin>x", "<xmin>nan ", "<xmin>1e9"), "annotation", fatal=True),
    "no name": Oddity(in_xml("name>", "title>"), "name|annotation", fatal=True),
    "size of another image": Oddity(in_xml("<width>", "<width>9"), "size", fatal=True),
    "size of no numbers": Oddity(in_xml("<width>", "<width>x", "<width>-"), "size|annotation", fatal=True),
    "cut XML": Oddity(in_xml("</annotation>", "", "<", "</a>"), "annotation", fatal=True),
    "entities without end": Oddity(in_xml("<annotation>", BOMB + "]><annotation>&f;"), "annotation", fatal=True),
    "no XML": Oddity(lambda rng, voc: voc.texts.__setitem__(voc.one(rng), ""), "annotation", fatal=True),
    "lost image": Oddity(lost, "cannot read|JPEGImages", fatal=True),
    "damaged image": Oddity(lambda rng, voc: damage(rng, voc.image(voc.one(rng))), "cannot read image", fatal=True),
    "another map": Oddity(other_map, "map|size|cannot read", fatal=True),
    "damaged map": Oddity(lambda rng, voc: damage(rng, voc.map(voc.one(rng))), "map|cannot read", fatal=True),
}  # fmt: skip


def write(rng: Random, root: Path, split: str) -> Voc:
    voc = Voc(root)
    for part in ("ImageSets/Main", "ImageSets/Segmentation", "JPEGImages", "Annotations", "SegmentationClass"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for number in range(3):
        image, objects = draw(rng, list(INK))
        name = f"{split}{number}"
        image.save(root / "JPEGImages" / f"{name}.png")
        classes = Image.new("L", image.size)
        xml = [f"<annotation><size><width>{image.width}</width><height>{image.height}</height></size>"]
        for label, (x1, y1, x2, y2) in objects:
            classes.paste(1 + list(INK).index(label), (x1, y1, x2, y2))
            xml.append(f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x1 + 1}</xmin>")
            xml.append(f"<ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>")
        classes.save(voc.map(name))
        voc.texts[name] = "".join([*xml, "</annotation>"])
    return voc


def save(voc: Voc, split: str) -> None:
    for name, text in voc.texts.items():
        if text:
            (voc.root / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
    for task in ("Main", "Segmentation"):
        lines = "".join(f"{name}{voc.flags}{voc.end}" for name in sorted(voc.texts))
        (voc.root / "ImageSets" / task / f"{split}.txt").write_bytes(lines.encode(voc.encoding))


def voc(number: int, root: Path) -> Trial:
    rng = Random(number)
    train, test = write(rng, root, "train"), write(rng, root, "val")
    odd = choose(rng, number, ODDITIES)
    for one in odd.values():
        one.change(rng, train)
    save(train, "train")
    save(test, "val")

    def attempt() -> None:
        splits = open_detection_folder(root)
        for image, target in splits.train:  # type: ignore[attr-defined]
            names: list[Any] = [splits.classes[label - 1] for label in target["labels"].tolist()]
            require_what_is_seen(image, target["boxes"], names)
        maps = open_segmentation_folder(root, classes=("background", *INK))
        for image, classes in maps.train:  # type: ignore[attr-defined]
            require_map_of_what_is_seen(image, classes, maps.classes)

    return trial(odd, attempt)
