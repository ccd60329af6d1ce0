"""Print the whole book as one PDF, from the rendered site.

    python -m tools.pdf

The chapters' articles are put into one page, in the order of the contents, so that links between chapters work
within the PDF and numbers are those of the site. Chromium prints it: solutions and hidden cells are open.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag
from playwright.sync_api import sync_playwright

from tools import browser
from tools.formulas import STYLES
from tools.notebooks import ROOT

FOOTER = """<div style="width: 100%; font: 8px sans-serif; color: #555; text-align: center">
<span class="pageNumber"></span></div>"""

# Open what a reader of paper cannot, and wait for images and fonts.
READY = """async () => {
  for (const details of document.querySelectorAll('details')) details.open = true;
  for (const box of document.querySelectorAll('.toggle-hidden')) box.classList.remove('toggle-hidden');
  await Promise.all([...document.images].map((image) => { image.loading = 'eager'; return image.decode(); }));
  await document.fonts.ready;
}"""


def chapters(site: Path) -> list[Path]:
    """The pages of the book, in the order of the contents."""
    entry = site / "book" / "index.html"
    contents = BeautifulSoup(entry.read_text(encoding="utf-8"), "html.parser").select(".bd-docs-nav a.internal[href]")
    pages = [(entry.parent / urlsplit(str(link["href"])).path).resolve() for link in contents]
    return list(dict.fromkeys([entry.resolve(), *(page for page in pages if page.is_file())]))


def merged(site: Path, pages: list[Path]) -> BeautifulSoup:
    """One page of all articles, to lie at the top of `site`; every anchor carries the name of its page."""
    whole = BeautifulSoup(pages[0].read_text(encoding="utf-8"), "html.parser")
    # The head with the style of formulas, if any page has them.
    for page in pages:
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        if soup.select_one(f'link[href$="{STYLES}"]'):
            whole = soup
            break
    head, base = whole.head, page.parent
    if not isinstance(head, Tag) or whole.body is None:
        raise ValueError(f"{page.name} has no head or no body")
    for tag in head.find_all(["script", "link"]):
        if tag.get("rel") == ["stylesheet"]:
            tag["href"] = _from_top(site, base, str(tag["href"]))
        else:
            tag.decompose()
    whole.body.clear()
    whole.body["class"] = "printed-book"
    if head.title and (title := page_title(pages[0])):
        head.title.string = title
    for page in pages:
        article = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").find("article")
        if isinstance(article, Tag):
            whole.body.append(_renamed(site, page, pages, article))
    return whole


def page_title(page: Path) -> str:
    """The title of the book, from its first page."""
    heading = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").select_one("article h1")
    return heading.get_text().removesuffix("#").strip() if heading else ""


def _name(site: Path, page: Path) -> str:
    return page.relative_to(site.resolve()).with_suffix("").as_posix().replace("/", "-")


def _from_top(site: Path, base: Path, link: str) -> str:
    parts = urlsplit(link)
    if parts.scheme or not parts.path:
        return link
    return os.path.relpath((base / parts.path).resolve(), site.resolve())


def _renamed(site: Path, page: Path, pages: list[Path], article: Tag) -> Tag:
    """`article` with anchors and links as they are in the merged page."""
    name = _name(site, page)
    for unused in article.select("script, button, a.headerlink"):
        unused.decompose()
    for tag in article.find_all(id=True):
        tag["id"] = f"{name}--{tag['id']}"
    article["id"] = name
    for image in article.find_all("img"):
        image["src"] = _from_top(site, page.parent, str(image["src"]))
    for link in article.find_all("a", href=True):
        parts = urlsplit(str(link["href"]))
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if parts.scheme or parts.netloc:
            continue
        if target in pages:
            anchor = f"--{parts.fragment}" if parts.fragment else ""
            link["href"] = f"#{_name(site, target)}{anchor}"
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
            tab.evaluate("() => { document.documentElement.dataset.theme = 'light'; }")
            tab.evaluate(READY)
            tab.pdf(
                path=target,
                format="A4",
                margin={"top": "18mm", "bottom": "18mm", "left": "18mm", "right": "18mm"},
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
    executable = browser.find()
    if executable is None:
        print("No Chromium found: the book cannot be printed", file=sys.stderr)
        return 1
    target = ROOT / "_build" / "resnest_book.pdf"
    print_book(ROOT / "_build" / "html", target, executable)
    print(f"{target}  ({target.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
