"""Print the whole book as one PDF, from the rendered site.

    python -m tools.pdf

The chapters' articles are put into one page, in the order of the contents, so that links between chapters work
within the PDF and numbers are those of the site. Chromium prints it, with solutions open. Folded code and the package's
reference, which one looks up and does not read, stay on the site.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag
from playwright.sync_api import sync_playwright

from tools import browser
from tools.notebooks import ROOT

FOOTER = """<div style="width: 100%; font: 8px sans-serif; color: #555; text-align: center">
<span class="pageNumber"></span></div>"""

EMPTY = '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"></head><body class="printed-book"></body></html>'
# Open what a reader of paper cannot, and wait for images and fonts.
READY = """async () => {
  document.documentElement.dataset.theme = 'light';
  for (const details of document.querySelectorAll('details')) details.open = true;
  for (const box of document.querySelectorAll('.toggle-hidden')) box.classList.remove('toggle-hidden');
  await Promise.all([...document.images].map((image) => { image.loading = 'eager'; return image.decode(); }));
  await document.fonts.ready;
}"""


def chapters(site: Path) -> list[Path]:
    """The pages of the book, in the order of the contents."""
    entry = (site / "book" / "index.html").resolve()
    links = [str(link["href"]) for link in _read(entry).select(".bd-docs-nav a.internal[href]")]
    pages = [(entry.parent / urlsplit(link).path).resolve() for link in links]
    read = [page for page in pages if page.is_file() and page.parent.name != "api"]
    return list(dict.fromkeys([entry, *read]))


def merged(site: Path, pages: list[Path]) -> BeautifulSoup:
    """One page of all articles, to lie at the top of `site`; every anchor carries the name of its page."""
    whole = BeautifulSoup(
        '<html lang="en"><head><meta charset="utf-8"></head><body class="printed-book">', "html.parser"
    )
    sheets: dict[str, None] = {}
    for page in pages:
        soup = _read(page)
        if page == pages[0]:
            whole.select("head")[0].append(soup.select("title")[0])
        for sheet in soup.select("link[rel=stylesheet]"):
            sheets[_from_top(site, page, str(sheet["href"]))] = None
        for article in soup.select("article"):
            whole.select("body")[0].append(_renamed(site, page, pages, article))
    for address in sheets:
        whole.select("head")[0].append(whole.new_tag("link", rel="stylesheet", href=address))
    return whole


def _read(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def _from_top(site: Path, page: Path, link: str) -> str:
    """A link of `page` as it reads in a page at the top of `site`."""
    parts = urlsplit(link)
    return os.path.relpath((page.parent / parts.path).resolve(), site.resolve()) if not parts.scheme else link


def _name(site: Path, page: Path) -> str:
    return page.relative_to(site.resolve()).with_suffix("").as_posix().replace("/", "-")


def _renamed(site: Path, page: Path, pages: list[Path], article: Tag) -> Tag:
    """`article` with anchors and links as they are in the merged page."""
    name = _name(site, page)
    for unused in article.select("script, button, a.headerlink, details.above-input"):
        unused.decompose()
    for tag in article.select("[id]"):
        tag["id"] = f"{name}--{tag['id']}"
    article["id"] = name
    for image in article.select("img"):
        image["src"] = _from_top(site, page, str(image["src"]))
    for link in article.select("a[href]"):
        parts = urlsplit(str(link["href"]))
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if parts.scheme or parts.netloc:
            continue
        if target in pages:
            link["href"] = f"#{_name(site, target)}{parts.fragment and '--' + parts.fragment}"
        else:
            del link["href"]  # a file of the site, which the PDF does not hold
    return article


def print_book(site: Path, target: Path, executable: str) -> None:
    """Write the book at `site` to the PDF `target`."""
    page = site / "whole-book.html"
    page.write_text(str(merged(site, chapters(site))), encoding="utf-8")
    try:
        with browser.served(site) as address, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
            tab = chromium.new_page(color_scheme="light")
            tab.set_default_timeout(300_000)
            tab.emulate_media(media="print", color_scheme="light")
            tab.goto(f"{address}/{page.name}", wait_until="load")
            tab.evaluate(READY)
            tab.pdf(
                path=target,
                format="A4",
                margin=dict.fromkeys(("top", "bottom", "left", "right"), "18mm"),  # type: ignore[arg-type]
                print_background=True,
                display_header_footer=True,
                header_template="<span></span>",
                footer_template=FOOTER,
                outline=True,
                tagged=True,
            )
            chromium.close()
    finally:
        page.unlink()


def main() -> int:
    executable, target = browser.find(), ROOT / "_build" / "resnest_book.pdf"
    if executable is None:
        print("No Chromium found: the book cannot be printed", file=sys.stderr)
        return 1
    print_book(ROOT / "_build" / "html", target, executable)
    print(f"{target}  ({target.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
