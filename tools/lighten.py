"""Make the rendered pages light: scripts wait for the text, images say their size before they come.

The theme brings its icons twice, as fonts and as a script of half a megabyte compressed, which is left out, and the
index of the search on every page.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bs4 import BeautifulSoup, Tag
from PIL import Image

ICON_SCRIPT = "fontawesome.js"
SEARCH = ("searchtools.js", "language_data.js", "searchindex.js")
# A page opened from the disk may not read the others, which the search does to quote them.
FROM_DISK = "\nif (location.protocol === 'file:') DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;\n"
LARGE = 40_000  # bytes; smaller pictures stay as they are


def _local(path: Path, link: str) -> Path:
    return Path(os.path.normpath(path.parent / link.partition("?")[0]))


def lighten(path: Path, page: BeautifulSoup) -> None:
    """Rewrite, in place, how `page`, which is to lie at `path` of a site with its images, loads scripts and images."""
    defer_scripts(path, page)
    size_images(path, page)


def defer_scripts(path: Path, page: BeautifulSoup) -> None:
    """Let every script file wait for the text; leave out icons and, where nobody searches, the search."""
    for preload in page.select("link[rel=preload]"):
        preload.decompose()
    for script in page.find_all("script", src=True):
        file = _local(path, str(script["src"]))
        if file.name == ICON_SCRIPT or (file.name in SEARCH and path.name != "search.html"):
            script.decompose()
        elif file.name == "documentation_options.js":
            # The scripts that stand in the page itself use it, and those cannot wait.
            del script["src"]
            script.string = file.read_text(encoding="utf-8") + FROM_DISK
        elif script.get("type") != "module":
            script["defer"] = "defer"


def pack_images(images: Path, kept: Path) -> None:
    """Give the large pictures in `images` the form of WebP, without loss unless that is still large.

    What was packed before is taken from `kept`: a picture is named by its content.
    """
    kept.mkdir(exist_ok=True)
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
    for tag, attribute in [(tag, "src") for tag in page.find_all("img")] + [(a, "href") for a in page.find_all("a")]:
        file = _local(path, str(tag.get(attribute)))
        if file.suffix == ".png" and not file.exists() and file.with_suffix(".webp").exists():
            tag[attribute] = os.path.relpath(file.with_suffix(".webp"), path.parent)
    article = page.find("article")
    images = article.find_all("img") if isinstance(article, Tag) else []
    for i, image in enumerate(images):
        if i:
            image["loading"] = "lazy"
        file = _local(path, str(image.get("src")))
        raster = file.suffix in (".png", ".webp") and file.exists()
        if raster and not image.has_attr("width") and not image.has_attr("style"):
            with Image.open(file) as picture:
                image["width"], image["height"] = map(str, picture.size)
