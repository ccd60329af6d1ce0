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

from bs4 import BeautifulSoup, Tag

from tools.notebooks import ROOT

# Tags for which a browser fetches by itself; an `a` only points.
FETCHED = ("link", "script", "img", "iframe", "source", "video", "audio")
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
        faults = [*_links(site, page, soup, anchors), *_images(soup), *_text(soup), *_structure(soup)]
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


def _images(soup: BeautifulSoup) -> Iterator[str]:
    for image in soup.find_all("img"):
        alt = str(image.get("alt") or "").strip()
        if not alt:
            yield f"image without alt text: {str(image.get('src'))[:80]}"
        elif FILE_NAME.match(alt):
            yield f"image whose alt text is a file name: {alt}"


def _text(soup: BeautifulSoup) -> Iterator[str]:
    if soup.find("meta", attrs={"http-equiv": re.compile("refresh", re.IGNORECASE)}):
        return
    headings = [tag for tag in soup.find_all("h1") if not tag.find_parent(class_="onlyprint")]
    if len(headings) != 1:
        yield f"{len(headings)} first headings (h1); one is wanted"
    article = soup.find("article") or soup.body
    if not isinstance(article, Tag):
        yield "no body"
        return
    # An example of the package's may show one on purpose; what a cell printed may not.
    if any("Traceback (most recent call last)" in box.get_text() for box in article.select(".cell_output, .output")):
        yield "shows a traceback"
    aside = ["pre", "code", "script", "style"]
    prose = " ".join(text for text in article.find_all(string=True) if not text.find_parent(aside))
    raw = [tag.get_text()[:60] for tag in article.select(".problematic")]
    yield from (f"unresolved: {hit}" for hit in sorted({*UNRESOLVED.findall(prose), *raw}))


def _structure(soup: BeautifulSoup) -> Iterator[str]:
    """What gives a page its form: figures with number and caption, tables with headings, headings without gaps."""
    for figure in soup.select("article figure:not(:has(figcaption .caption-number))"):
        yield f"figure without number and caption: {figure.get('id') or figure.get_text()[:40].strip()}"
    for image in soup.select("article img:not(figure img, .inline)"):
        yield f"image outside a figure: {str(image.get('alt') or '')[:60]}"
    for table in soup.select("article table:not(:has(th))"):
        yield f"table without header cells: {table.get_text(' ', strip=True)[:60]}"
    last = 6
    for heading in soup.select("article :is(h1, h2, h3, h4, h5, h6)"):
        level = int(heading.name[1])
        if level > last + 1:
            yield f"heading level {level} after {last}: {heading.get_text()[:60].strip()}"
        last = level


def main(arguments: list[str]) -> int:
    site = Path(arguments[0] if arguments else ROOT / "_build" / "html")
    found = check_files(site)
    print("\n".join([*found, f"{len(pages(site))} pages, faults: {len(found)}"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
