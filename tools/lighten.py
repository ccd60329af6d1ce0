"""Make the rendered pages light: scripts wait for the text, images say their size before they come."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bs4 import BeautifulSoup
from PIL import Image

# A page opened from the disk may not read the others, which the search does to quote them.
FROM_DISK = "\nif (location.protocol === 'file:') DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;\n"
LARGE = 40_000  # bytes; smaller pictures stay as they are


def lighten(path: Path, page: BeautifulSoup) -> None:
    """Rewrite, in place, how `page`, which is to lie at `path` of a site with its images, loads scripts and images."""
    for script in page.select("script[src]:not([type=module])"):
        file = _local(path, str(script["src"]))
        if file.name == "documentation_options.js":
            # The scripts that stand in the page itself use it, and those cannot wait.
            del script["src"]
            script.string = file.read_text(encoding="utf-8") + FROM_DISK
        else:
            script["defer"] = "defer"
    size_images(path, page)


def pack_images(images: Path, kept: Path) -> None:
    """Give the large pictures in `images` the form of WebP, without loss unless that is still large.

    What was packed before is taken from `kept`: a picture is named by its content.
    """
    for file in sorted(images.glob("*.png")):
        if file.stat().st_size < LARGE:
            continue
        packed = (kept / file.name).with_suffix(".webp")
        if not packed.exists():
            with Image.open(file) as opened:
                picture = opened.convert("RGBA" if "A" in opened.getbands() else "RGB")
                picture.save(packed, lossless=True, method=4)
                if packed.stat().st_size > 2 * LARGE:
                    picture.save(packed, quality=90, method=4)
        if packed.stat().st_size < file.stat().st_size:
            shutil.copyfile(packed, file.with_suffix(".webp"))
            file.unlink()


def size_images(path: Path, page: BeautifulSoup) -> None:
    """Give images their size, so that text does not jump; those after the first wait until they are near."""
    for tag in page.select("img[src], a[href]"):
        attribute = "src" if tag.name == "img" else "href"
        file = _local(path, str(tag[attribute]))
        if file.suffix == ".png" and not file.exists() and file.with_suffix(".webp").exists():
            tag[attribute] = os.path.relpath(file.with_suffix(".webp"), path.parent)
    for i, image in enumerate(page.select("article img")):
        if i:
            image["loading"] = "lazy"
        file = _local(path, str(image.get("src")))
        if file.suffix in (".png", ".webp") and file.exists() and not {"width", "style"} & set(image.attrs):
            with Image.open(file) as picture:
                image["width"], image["height"] = map(str, picture.size)


def _local(path: Path, link: str) -> Path:
    return Path(os.path.normpath(path.parent / link.partition("?")[0]))
