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

# Attributes through which a browser fetches by itself; an `a` only points.
FETCHED = {"link": "href", **dict.fromkeys(("script", "img", "iframe", "source", "video", "audio"), "src")}
FILE_NAME = re.compile(r"^\S*(?:/\S*|\.(?:png|svg|jpe?g|gif|webp))$", re.IGNORECASE)
UNRESOLVED = re.compile(r"\?\?\?|\[\?\]")
CSS_ELSEWHERE = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\"')\s]+", re.IGNORECASE)


def pages(site: Path) -> list[Path]:
    """The site's pages: every HTML file but those that the theme keeps for itself under `_static`."""
    return sorted(page for page in site.rglob("*.html") if "_static" not in page.relative_to(site).parts)


def check_files(site: Path) -> list[str]:
    """Every fault that the files themselves show, a line each."""
    soups = {page: BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser") for page in pages(site)}
    if not soups:
        return [f"{site}: no pages; run make html"]
    anchors = {page.resolve(): _anchors(soup) for page, soup in soups.items()}
    found: list[str] = []
    for page, soup in soups.items():
        name = str(page.relative_to(site))
        for fault in [*_links(site, page, soup, anchors), *_images(soup), *_text(soup), *_structure(soup)]:
            found.append(f"{name}: {fault}")
    for sheet in sorted(site.rglob("*.css")):
        for hit in CSS_ELSEWHERE.findall(sheet.read_text(encoding="utf-8", errors="replace")):
            found.append(f"{sheet.relative_to(site)}: fetches from elsewhere: {hit}")
    return found


def _anchors(soup: BeautifulSoup) -> set[str]:
    return {str(tag[key]) for tag in soup.find_all(True) for key in ("id", "name") if tag.has_attr(key)} | {"top"}


def _links(site: Path, page: Path, soup: BeautifulSoup, anchors: dict[Path, set[str]]) -> Iterator[str]:
    for tag in soup.find_all(["a", *FETCHED]):
        attribute = FETCHED.get(tag.name, "href")
        link = str(tag.get(attribute) or "")
        parts = urlsplit(link)
        if not link or parts.scheme in ("data", "mailto", "javascript", "blob"):
            continue
        if parts.scheme or parts.netloc:
            if tag.name != "a" and "canonical" not in (tag.get("rel") or []):
                yield f"<{tag.name}> fetches from elsewhere: {link}"
            continue
        target = page if not parts.path else (page.parent / unquote(parts.path)).resolve()
        if target.is_dir():
            target = target / "index.html"
        target = target.resolve()
        if not target.is_relative_to(site.resolve()):
            yield f"link out of the site: {link}"
        elif not target.exists():
            yield f"broken link: {link}"
        elif parts.fragment and target in anchors and unquote(parts.fragment) not in anchors[target]:
            yield f"broken anchor: {link}"


def _images(soup: BeautifulSoup) -> Iterator[str]:
    for image in soup.find_all("img"):
        alt, source = str(image.get("alt") or "").strip(), str(image.get("src") or "")[:80]
        if not alt:
            yield f"image without alt text: {source}"
        elif FILE_NAME.match(alt):
            yield f"image whose alt text is a file name: {alt}"


def _text(soup: BeautifulSoup) -> Iterator[str]:
    if soup.find("meta", attrs={"http-equiv": "refresh"}):
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
    for hit in sorted(set(UNRESOLVED.findall(prose))):
        yield f"unresolved: {hit}"
    for raw in article.find_all(class_="problematic"):
        yield f"unresolved: {raw.get_text()[:60]}"


def _structure(soup: BeautifulSoup) -> Iterator[str]:
    """What gives a page its form: figures with number and caption, tables with headings, headings without gaps."""
    article = soup.find("article")
    if not isinstance(article, Tag):
        return
    for figure in article.find_all("figure"):
        if figure.select_one("figcaption .caption-number") is None:
            yield f"figure without number and caption: {figure.get('id') or figure.get_text()[:40].strip()}"
    for image in article.find_all("img"):
        if image.find_parent("figure") is None and "inline" not in (image.get("class") or []):
            yield f"image outside a figure: {str(image.get('alt') or '')[:60]}"
    for table in article.find_all("table"):
        if table.find("th") is None:
            yield f"table without header cells: {table.get_text(' ', strip=True)[:60]}"
    last = 0
    for heading in article.find_all(["h1", "h2", "h3", "h4", "h5", "h6"]):
        level = int(heading.name[1])
        if last and level > last + 1:
            yield f"heading level {level} after {last}: {heading.get_text()[:60].strip()}"
        last = level


def main(arguments: list[str]) -> int:
    site = Path(arguments[0] if arguments else ROOT / "_build" / "html").resolve()
    found = check_files(site)
    print("\n".join([*found, f"{len(pages(site))} pages, faults: {len(found)}"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
