"""A book of two pages, small enough to be built in a test; a browser for the interactive figures."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from nbformat import v4
from playwright.sync_api import Browser, Page, sync_playwright

from tests.site.node import EXPLORABLES
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

# What the theme gives a page, in so far as the figures use it.
FIGURE = """<!DOCTYPE html><html lang="en" data-theme="{scheme}"><head><meta charset="utf-8"><title>t</title>
<meta name="viewport" content="width=device-width"><style>
html {{ --pst-color-background: #fff; --pst-color-text-base: #222832; --pst-color-text-muted: #48566b; }}
html[data-theme=dark] {{
  --pst-color-background: #121212; --pst-color-text-base: #ced6dd; --pst-color-text-muted: #9ca4af;
}}
body {{ margin: 8px; background: var(--pst-color-background); }}
</style></head><body><main><h1>T</h1>{figure}</main></body></html>"""


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
def open_figure(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """The figure of a notebook's cell as a page of its own, from a disk. It may ask for its own files alone;
    what it asks for is in ``page.asked``."""
    opened = []

    def open_figure(notebook: str, cell: str, width: int = 760, scheme: str = "light", **options: bool) -> Page:
        cells = json.loads((ROOT / "book" / notebook).read_text(encoding="utf-8"))["cells"]
        source = next("".join(one["source"]) for one in cells if one["id"] == cell)
        figure = "\n".join(re.findall(r"<link .*>|<script .*</script>|<div[\s\S]*?</div>", source))
        page = browser.new_context(viewport={"width": width, "height": 900}, **options).new_page()  # type: ignore[arg-type]
        page.set_default_timeout(20_000)
        page.asked, faults = [], []  # type: ignore[attr-defined]
        page.on("request", lambda request: page.asked.append(request.url))  # type: ignore[attr-defined]
        page.on("pageerror", lambda error: faults.append(str(error)))
        path = tmp_path / "page.html"
        figure = figure.replace("../../explorables", EXPLORABLES.as_uri())
        path.write_text(FIGURE.format(scheme=scheme, figure=figure), encoding="utf-8")
        page.goto(path.as_uri())
        opened.append((page, faults))
        return page

    yield open_figure
    for page, faults in opened:
        page.context.close()
        assert not faults
        # What a test names wrongly on purpose is nowhere.
        own = [url for url in page.asked if not re.search(r"/page\.html$|nowhere|^data:", url)]
        assert own and all(url.startswith(f"{EXPLORABLES.as_uri()}/") for url in own)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a notebook of the given code cells under `tmp_path`."""
    return partial(write_notebook, tmp_path)


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """The root of a small book, with the real book's configuration and a chapter that passes."""
    return write_sample(tmp_path)
