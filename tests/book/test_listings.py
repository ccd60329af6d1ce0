"""Listings show what is imported, without the examples of docstrings; what is stored is the present source."""

import ast
import json
import textwrap
from pathlib import Path

import pytest

from resnest_edu.book import fingerprint
from resnest_edu.book.listings import _without_examples, show_javascript, show_source
from tools.notebooks import ROOT, toc_notebooks

PACKAGE = ROOT / "resnest_edu"


def shown(*objects):
    """The code of the listing of ``objects``."""
    opening, *lines, closing = show_source(*objects).data.splitlines()
    assert (opening, closing) == ("```python", "```")
    return "\n".join(lines)


def without(source):
    return _without_examples(textwrap.dedent(source).strip()).splitlines()


def with_an_example(x):
    """Twice as much.

    Example:
        >>> with_an_example(2)
        4

        >>> with_an_example(3)
        6
    """
    return 2 * x  # as the name says


class WithSeveral:
    """A class.

    Its second paragraph.

    Example:
        >>> WithSeveral().one()
        1

    Raises:
        ValueError: never.
    """

    def one(self):
        """One.

        Example:
            >>> WithSeveral().one()
            1
        """
        return 1

    def two(self):
        """Two.

        Returns:
            The number.

        Example:
            >>> WithSeveral().two()
            2
        """
        return 2


def test_a_summary_that_is_left_alone_stands_on_one_line() -> None:
    assert shown(with_an_example).splitlines() == [
        "def with_an_example(x):",
        '    """Twice as much."""',
        "    return 2 * x  # as the name says",
    ]


def test_every_docstring_of_a_class_loses_its_example_and_nothing_else() -> None:
    assert shown(WithSeveral).splitlines() == [
        "class WithSeveral:",
        '    """A class.',
        "",
        "    Its second paragraph.",
        "",
        "    Raises:",
        "        ValueError: never.",
        '    """',
        "",
        "    def one(self):",
        '        """One."""',
        "        return 1",
        "",
        "    def two(self):",
        '        """Two.',
        "",
        "        Returns:",
        "            The number.",
        '        """',
        "        return 2",
    ]


def test_an_example_that_is_all_there_is_leaves_an_empty_docstring() -> None:
    source = '''
    def nothing_else():
        """
        Example:
            >>> nothing_else()
        """
        return None
    '''
    assert without(source) == ["def nothing_else():", '    """"""', "    return None"]


def test_text_that_only_mentions_an_example_stays() -> None:
    source = '''
    def other():
        """For example:

        Example: this line goes on, and so it is no head.
        """
        return {"Example:": 1}
    '''
    assert without(source) == textwrap.dedent(source).strip().splitlines()


def test_examples_go_and_the_code_stays() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        left = _without_examples(source)
        assert fingerprint._text(ast.parse(left)) == fingerprint._text(ast.parse(source)), path
        assert ">>>" not in left, path


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
