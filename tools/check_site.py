"""Check the files of the rendered site: `python -m tools.check_site [SITE]`.

Every internal link, anchor and image resolves, every image says what it shows, figures are numbered and captioned,
tables have header cells, headings leave out no level, one first heading a page, nothing unresolved, no traceback, no
script or style from elsewhere. What only a browser sees, `tests/site/pages.py` asks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

from tools.notebooks import ROOT

# Tags for which a browser fetches by itself; an `a` only points.
FETCHED = ("link", "script", "img", "iframe", "source", "video", "audio")
# Selectors of what a page must not have. An example of the package's may show a traceback; what a cell printed may not.
FAULTS = {
    "article figure:not(:has(.caption-number))": "figure without number and caption",
    "article img:not(figure img, .sd-card img, .inline)": "image outside a figure or a card",
    "article table:not(:has(th))": "table without header cells",
    "article .problematic": "unresolved",
    ":is(.cell_output, .output) pre:-soup-contains('Traceback (most recent call last)')": "shows a traceback",
}
FILE_NAME = re.compile(r"^\S*(?:/\S*|\.(?:png|svg|jpe?g|gif|webp))$", re.IGNORECASE)
UNRESOLVED = re.compile(r"\?\?\?|\[\?\]")
CSS_ELSEWHERE = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\"')\s]+", re.IGNORECASE)


def pages(site: Path) -> list[Path]:
    """The site's pages: every HTML file but those that the theme keeps for itself under `_static`."""
    return sorted(page for page in site.rglob("*.html") if "_static" not in page.relative_to(site).parts)


def check_files(site: Path) -> list[str]:
    """Every fault that the files themselves show, a line each."""
    site = site.resolve()
    soups = {page: BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser") for page in pages(site)}
    if not soups:
        return [f"{site}: no pages; run make html"]
    anchors = {page: {str(tag["id"]) for tag in soup.select("[id]")} | {"top"} for page, soup in soups.items()}
    found = []
    for page, soup in soups.items():
        faults = [*_links(site, page, soup, anchors), *_form(soup)]
        found += [f"{page.relative_to(site)}: {fault}" for fault in faults]
    for sheet in sorted(site.rglob("*.css")):
        hits = CSS_ELSEWHERE.findall(sheet.read_text(encoding="utf-8", errors="replace"))
        found += [f"{sheet.relative_to(site)}: fetches from elsewhere: {hit}" for hit in hits]
    return found


def _links(site: Path, page: Path, soup: BeautifulSoup, anchors: dict[Path, set[str]]) -> Iterator[str]:
    for tag in soup.find_all(["a", *FETCHED]):
        link = str(tag.get("href" if tag.name in ("a", "link") else "src") or "")
        parts = urlsplit(link)
        if not link or parts.scheme in ("data", "mailto", "javascript", "blob"):
            continue
        if parts.scheme or parts.netloc:
            if tag.name in FETCHED and "canonical" not in (tag.get("rel") or []):
                yield f"<{tag.name}> fetches from elsewhere: {link}"
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        target = target / "index.html" if target.is_dir() else target
        if not target.is_relative_to(site):
            yield f"link out of the site: {link}"
        elif not target.exists():
            yield f"broken link: {link}"
        elif parts.fragment and unquote(parts.fragment) not in anchors.get(target, {unquote(parts.fragment)}):
            yield f"broken anchor: {link}"


def _form(soup: BeautifulSoup) -> Iterator[str]:
    """What a page must have, and what it must not."""
    if soup.find("meta", attrs={"http-equiv": re.compile("refresh", re.IGNORECASE)}):
        return
    for selector, fault in FAULTS.items():
        for tag in soup.select(selector):
            what = tag.get("id") or tag.get("alt") or tag.get_text(" ", strip=True) or tag.get("src")
            yield f"{fault}: {str(what)[:60]}"
    for image in soup.select("img"):
        alt = str(image.get("alt") or "").strip()
        if not alt:
            yield f"image without alt text: {image.get('src')}"
        elif FILE_NAME.match(alt):
            yield f"image whose alt text is a file name: {alt}"
    count = len(soup.select("h1:not(.onlyprint h1)"))
    if count != 1:
        yield f"{count} first headings (h1); one is wanted"
    last = 6
    for heading in soup.select("article :is(h1, h2, h3, h4, h5, h6)"):
        level = int(heading.name[1])
        if level > last + 1:
            yield f"heading level {level} after {last}: {heading.get_text()[:60].strip()}"
        last = level
    texts = [text for article in soup.select("article") for text in article.find_all(string=True)]
    prose = " ".join(text for text in texts if not text.find_parent(["pre", "code", "script", "style"]))
    yield from (f"unresolved: {hit}" for hit in sorted(set(UNRESOLVED.findall(prose))))


def main(arguments: list[str]) -> int:
    site = Path(arguments[0] if arguments else ROOT / "_build" / "html")
    found = check_files(site)
    print("\n".join([*found, f"{len(pages(site))} pages, faults: {len(found)}"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
