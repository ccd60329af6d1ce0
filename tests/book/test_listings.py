"""Listings show what is imported, without docstring bodies and checks; what is stored is the present source."""

import ast
import json
from pathlib import Path

import pytest

from resnest_edu.arguments import require_positive_int
from resnest_edu.book.listings import how_it_computes, show_javascript, show_source
from tools.notebooks import ROOT, toc_notebooks

PACKAGE = ROOT / "resnest_edu"


class Doubled:
    """Twice as much. And more on it.

    Shape: (B, C) -> (B, C).

    Example:
        >>> Doubled(1)
    """

    def __init__(self, x):
        """A sentence that is a good deal longer than what a line of a page has room for, so that it takes two of them.

        Raises:
            ValueError: never.
        """
        require_positive_int(x=x)
        self.x = x  # as the name says
        # Why it is refused.
        if x > 9:
            limit = "nine"
            raise ValueError(limit)

        if x > 8:
            self.x = 8

    def check(self):
        require_positive_int(x=self.x)


def test_a_listing_shows_how_it_computes_and_no_more() -> None:
    opening, *lines, closing = show_source(Doubled, Doubled.check).data.splitlines()
    assert (opening, closing) == ("```python", "```")
    assert lines == [
        "class Doubled:",
        '    """Twice as much. Shape: (B, C) -> (B, C)."""',
        "",
        "    def __init__(self, x):",
        '        """A sentence that is a good deal longer than what a line of a page has room',
        "        for, so that it takes two of them.",
        '        """',
        "        self.x = x  # as the name says",
        "",
        "        if x > 8:",
        "            self.x = 8",
        "",
        "    def check(self):",
        "        require_positive_int(x=self.x)",
        "",
        "",
        "def check(self):",
        "    require_positive_int(x=self.x)",
    ]


def test_every_module_can_be_listed() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        listing = how_it_computes(source)
        names = [[one.name for one in ast.walk(ast.parse(text)) if hasattr(one, "name")] for text in (source, listing)]
        assert names[0] == names[1] and ">>>" not in listing, path


@pytest.mark.parametrize("path", toc_notebooks(), ids=lambda path: path.stem)
def test_stored_listings_are_the_present_source(path) -> None:
    names: dict = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or not ("show_source" in source or "resnest_edu" in source):
            continue
        *statements, last = ast.parse(source).body or [ast.Pass()]
        imports = [node for node in [*statements, last] if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), path.name, "exec"), names)
        if isinstance(last, ast.Expr) and ast.unparse(last).startswith("show_source("):
            listing = eval(compile(ast.Expression(last.value), path.name, "eval"), names)
            stored = "".join(cell["outputs"][-1]["data"]["text/markdown"])
            assert listing.data == stored, ast.unparse(last)


SCRIPT = """/* Of another. */
function other() {}

/* Twice
   as much. */
function twice(x) {
  if (x) {
    return 2 * x;
  }
  return 0;
}

function thrice(x) {
  return 3 * x;
}
"""


def test_functions_of_a_script_are_shown_whole_with_their_own_comments(tmp_path: Path) -> None:
    path = tmp_path / "script.js"
    path.write_text(SCRIPT, encoding="utf-8")
    whole = SCRIPT[SCRIPT.index("/* Twice") : SCRIPT.index("\n\nfunction thrice")]
    assert show_javascript(path, "twice").data == f"```js\n{whole}\n```"
    both = show_javascript(path, "thrice", "twice").data
    assert both == "```js\n" + SCRIPT[SCRIPT.index("function thrice") :] + "\n" + whole + "\n```"
    with pytest.raises(ValueError, match=r"name \(='twic'\) must be a function of script.js"):
        show_javascript(path, "twic")


def test_python_is_shown_without_its_indentation() -> None:
    assert show_source(Path.exists).data.startswith("```python\ndef exists(")
