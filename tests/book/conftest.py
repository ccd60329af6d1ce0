"""A book of two pages, small enough to be built in a test; a browser for the interactive figures."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nbformat import v4
from playwright.sync_api import Browser, sync_playwright

from tools.browser import find
from tools.normal_form import dumps, normalise
from tools.notebooks import ROOT

TOC = """
format: jb-book
root: book/index
parts:
  - caption: Blocks
    chapters:
      - file: book/chapter
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window. Where there is none, what needs it is skipped, but in continuous integration fails."""
    if not (executable := find()):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium found")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a notebook of the given code cells under `tmp_path`."""

    def write(*sources: str, name: str = "book/chapter.ipynb", tags: tuple[str, ...] = ()) -> Path:
        cells = [v4.new_markdown_cell("# A chapter\n\n$$a = b$$ (eq-one)\n\nSee {eq}`eq-one`.", id="title")]
        cells += [
            v4.new_code_cell(source, id=f"cell{i}", metadata={"tags": list(tags)} if tags else {})
            for i, source in enumerate(sources)
        ]
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dumps(normalise(v4.new_notebook(cells=cells))), encoding="utf-8")
        return path

    return write


@pytest.fixture
def sample(tmp_path: Path, write: Callable[..., Path]) -> Path:
    """The root of a small book, with the real book's configuration and a chapter that passes."""
    write("x = 6 * 7\nx", "print('attention')")
    (tmp_path / "_toc.yml").write_text(TOC, encoding="utf-8")
    shutil.copy(ROOT / "_config.yml", tmp_path / "_config.yml")
    for folder in ("_static", "_extra"):
        shutil.copytree(ROOT / "book" / folder, tmp_path / "book" / folder)
    for file in ("references.bib", "search_scorer.js"):
        shutil.copy(ROOT / "book" / file, tmp_path / "book" / file)
    index = "# Sample\n\n{cite:t}`resnest`; {doc}`chapter`.\n\n```{bibliography}\n```\n"
    (tmp_path / "book" / "index.md").write_text(index, encoding="utf-8")
    return tmp_path
