"""What the book's notebooks need to show the sources of what they run."""

import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

from IPython.display import Markdown

# The section "Example:" of a docstring: its head, all that is indented further, and the empty lines on both sides.
_EXAMPLE = re.compile(r"(?:\n *)*\n(?P<indent> *)Example:\n(?:(?P=indent) .*\n| *\n)*(?P=indent)(?=\S)")


def show_source(*objects: type | Callable) -> Markdown:
    """The source of classes or functions, as the page's coloured code: what is read is what is imported. The examples
    in docstrings are left out; they stand on the pages of the package.

    Args:
        objects: what to show, one below the other.

    Raises:
        TypeError: there is no Python source for one of them.

    Example:
        >>> from resnest_edu.network.layouts import to_radix_major
        >>> from resnest_edu.book.listings import show_source
        >>> show_source(to_radix_major).data.splitlines()[1]
        'def to_radix_major(module: nn.Module) -> nn.Module:'
    """
    sources = [textwrap.dedent(inspect.getsource(item)).strip() for item in objects]
    return Markdown("```python\n" + "\n\n\n".join(map(_without_examples, sources)) + "\n```")


def show_javascript(path: str | Path, *names: str) -> Markdown:
    """Functions of a script, each with the comment above it, as the page's coloured code: what is read is what runs.

    Args:
        path: the script; its functions begin with ``function NAME(`` and end with a brace in the first column.
        names: of the functions, in the order in which to show them.

    Raises:
        ValueError: the script has no such function.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from resnest_edu.book.listings import show_javascript
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "sum.js")
        ...     _ = path.write_text("function add(a, b) {\\n  return a + b;\\n}\\n")
        ...     print(show_javascript(path, "add").data)
        ```js
        function add(a, b) {
          return a + b;
        }
        ```
    """
    text, found = Path(path).read_text(encoding="utf-8"), []
    for name in names:
        comment = r"(?:/\*(?:(?!\*/).)*\*/\n)?"
        match = re.search(rf"^{comment}function {re.escape(name)}\(.*?^}}$", text, re.MULTILINE | re.DOTALL)
        if not match:
            raise ValueError(f"name (={name!r}) must be a function of {Path(path).name}")
        found.append(match.group())
    return Markdown("```js\n" + "\n\n".join(found) + "\n```")


def _without_examples(source: str) -> str:
    return _EXAMPLE.sub(_what_stays, source)


def _what_stays(match: re.Match[str]) -> str:
    """What stands in an example's place: the space around a section, or before the closing quotes a new line, if the
    docstring has more than one."""
    before, after = match.string[: match.start()], match.string[match.end() :]
    if not after.startswith('"""'):
        return f"\n\n{match['indent']}"
    last_line = before.rpartition("\n")[2]
    return "" if last_line.lstrip().startswith('"""') else f"\n{match['indent']}"
