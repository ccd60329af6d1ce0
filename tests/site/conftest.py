"""A book of two pages, small enough to be built in a test; a browser for the interactive figures."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from nbformat import v4
from playwright.sync_api import Browser, sync_playwright

from tools.browser import find, trouble
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

INDEX = """
# Sample

{cite:t}`resnest`; {doc}`chapter`.

```{eval-rst}
.. automodule:: sample_module
```

```{bibliography}
```
"""


def write_notebook(root: Path, *sources: str, name: str = "book/chapter.ipynb", tags: tuple[str, ...] = ()) -> Path:
    """Write a notebook of the given code cells under `root`."""
    cells = [v4.new_markdown_cell("# A chapter\n\n$$a = b$$ (eq-one)\n\nSee {eq}`eq-one`.", id="title")]
    cells += [
        v4.new_code_cell(source, id=f"cell{i}", metadata={"tags": list(tags)} if tags else {})
        for i, source in enumerate(sources)
    ]
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(normalise(v4.new_notebook(cells=cells))), encoding="utf-8")
    return path


def write_sample(root: Path) -> Path:
    """Write a small book with the real one's configuration to `root`."""
    write_notebook(root, "x = 6 * 7\nx", "print('attention')")
    (root / "_toc.yml").write_text(TOC, encoding="utf-8")
    shutil.copy(ROOT / "_config.yml", root / "_config.yml")
    for folder in ("_static", "_extra", "_templates"):
        shutil.copytree(ROOT / "book" / folder, root / "book" / folder)
    for file in ("references.bib", "search_scorer.js"):
        shutil.copy(ROOT / "book" / file, root / "book" / file)
    (root / "book" / "index.md").write_text(INDEX, encoding="utf-8")
    (root / "sample_module.py").write_text('"""First words."""\n', encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window. Where there is none, what needs it is skipped, but in continuous integration fails."""
    if reason := trouble():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no Chromium ({reason})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a notebook of the given code cells under `tmp_path`."""
    return partial(write_notebook, tmp_path)


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """The root of a small book, with the real book's configuration and a chapter that passes."""
    return write_sample(tmp_path)
