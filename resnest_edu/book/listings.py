"""Listings: the sources of what the notebooks run, as code on their pages."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

from IPython.display import Markdown


def show_source(*objects: type | Callable) -> Markdown:
    """The source of classes or functions, as the page's coloured code: what is read is what is imported.

    Of a docstring its first sentence and the shapes stay; what refuses arguments before the work is left out.

    Args:
        objects: what to show, one below the other.

    Raises:
        TypeError: there is no Python source for one of them.
    """
    sources = [textwrap.dedent(inspect.getsource(item)).strip() for item in objects]
    return Markdown("```python\n" + "\n\n\n".join(map(how_it_computes, sources)) + "\n```")


def how_it_computes(source: str) -> str:
    """The code without the bodies of its docstrings, and without checks of arguments."""
    lines = source.splitlines()
    edits: list[tuple[ast.stmt, list[str]]] = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        docstring = ast.get_docstring(node)
        if docstring and "\n" in docstring:
            edits.append((node.body[0], _summary(docstring, node.body[0].col_offset)))
        statements = node.body[bool(docstring) :]
        checks = [statement for statement in takewhile(_is_head, statements) if _is_check(statement)]
        if len(checks) < len(statements):  # else to check is all it does
            edits += [(check, []) for check in checks]
    for statement, replacement in sorted(edits, key=lambda edit: edit[0].lineno, reverse=True):
        first = statement.lineno - 1
        while not replacement and lines[first - 1].lstrip().startswith("#"):  # the reason of a check goes with it
            first -= 1
        lines[first : statement.end_lineno] = replacement
    return re.sub(r"\n(?: *\n){2,}", "\n\n", "\n".join(lines))


def _is_head(statement: ast.stmt) -> bool:
    """Whether it comes before the work of a function: a check, a name for something, the constructor of the base."""
    match statement:
        case ast.Assign() | ast.AnnAssign() | ast.Expr(ast.Call(ast.Attribute(ast.Call(ast.Name("super"))))):
            return True
    return _is_check(statement)


def _is_check(statement: ast.stmt) -> bool:
    """Whether it calls ``require_…``, or raises under a condition and does no more than word the message."""
    match statement:
        case ast.Expr(ast.Call(ast.Name(name))):
            return name.startswith("require_")
        case ast.If(body=[*before, ast.Raise()], orelse=[]):
            return all(isinstance(line, ast.Assign) for line in before)
    return False


def _summary(docstring: str, indent: int) -> list[str]:
    """The first sentence of a docstring, and the shapes if they are short, as lines of a docstring."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in docstring.split("\n\n")]
    sentence, shapes = re.match(r".*?\.(?= |$)|.*", paragraphs[0]), re.search(r"\bShape: .*", "\n".join(paragraphs))
    parts = [sentence.group() if sentence else ""]
    if shapes and shapes.group() not in parts[0] and len(shapes.group()) < 100:
        parts.append(shapes.group())
    whole = f'"""{" ".join(parts)}"""'
    if indent + len(whole) <= 86:  # what fits on a page
        return [" " * indent + whole]
    lines = [line for part in parts for line in textwrap.wrap(part, 83 - indent)]
    return [" " * indent + line for line in (f'"""{lines[0]}', *lines[1:], '"""')]


def show_javascript(path: str | Path, *names: str) -> Markdown:
    """Functions of a script, each with the comment above it, as the page's coloured code: what is read is what runs.

    Args:
        path: the script; its functions begin with ``function NAME(`` and end with a brace in the first column.
        names: of the functions, in the order in which to show them.

    Raises:
        ValueError: the script has no such function.
    """
    text, found = Path(path).read_text(encoding="utf-8"), []
    for name in names:
        comment = r"(?:/\*(?:(?!\*/).)*\*/\n)?"
        match = re.search(rf"^{comment}function {re.escape(name)}\(.*?^}}$", text, re.MULTILINE | re.DOTALL)
        if not match:
            raise ValueError(f"name (={name!r}) must be a function of {Path(path).name}")
        found.append(match.group())
    return Markdown("```js\n" + "\n\n".join(found) + "\n```")
