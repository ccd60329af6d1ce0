"""Every letter of a numbered equation stands in the table of symbols: for all chapters, or for the equation's own."""

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tools.notebooks import toc_notebooks

BOOK = Path(__file__).parents[2] / "book"
COUNTERS = set("ijklmn")  # indices of sums
NO_SYMBOLS = re.compile(
    r"\\(text|texttt|operatorname|mathrm|begin|end|label)\*?\{[^{}]*\}"
    r"|\\([dt]?frac|sqrt|sum|prod|int|nabla|partial|max|min|log|ln|exp|cos|sin|sim|cap|cup|ell|left|right|[bB]igl?|[bB]igr?"
    r"|q?quad|[cvl]?dots|cdot|times|le|ge|ne|in|to|leftarrow|lfloor|rfloor|lVert|rVert|infty|pm|approx|mid|odot|prime"
    r"|hat|tilde|bar|mathbb|mathcal|mathbf|underbrace|overbrace)(?![a-zA-Z])"
)


def letters(formula: str) -> set[str]:
    return set(re.findall(r"\\[a-zA-Z]+|[A-Za-z]", NO_SYMBOLS.sub(" ", formula)))


def numbered_equations(notebook: NotebookNode) -> list[tuple[str, str]]:
    """Label and formula of each."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    displayed = re.findall(r"\$\$(.*?)\$\$(?: \((eq-[\w-]+)\))?", text, re.DOTALL)
    return [(label, formula) for formula, label in displayed if label]


def symbols_by_chapter() -> dict[str, set[str]]:
    """The letters of the tables' rows: under "" those for all chapters, under a chapter's name those for it alone."""
    found: dict[str, set[str]] = {"": set()}
    tables = (BOOK / "notation.md").read_text(encoding="utf-8").partition("## Symbols")[2].partition("## Shapes")[0]
    for row in tables.split("\n* - ")[1:]:
        chapters, meaning = re.findall(r"<([\w/]+)>", row.partition("\n  - ")[0]) or [""], row.partition("```")[0]
        for chapter in chapters:
            known = set().union(*map(letters, re.findall(r"\$(.*?)\$", meaning)))
            found.setdefault(chapter, set()).update(known)
    return found


def test_every_symbol_of_a_numbered_equation_is_explained() -> None:
    known, missing = symbols_by_chapter(), {}
    for path in toc_notebooks():
        chapter = path.relative_to(BOOK).with_suffix("").as_posix()
        for label, formula in numbered_equations(nbformat.read(path, as_version=4)):
            unknown = letters(formula) - known[""] - known.get(chapter, set()) - COUNTERS
            if unknown:
                missing[label] = sorted(unknown)
    assert not missing
