"""What the book's notebooks need to show the sources of what they run."""

import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

from IPython.display import Markdown


def show_source(*objects: type | Callable) -> Markdown:
    """The source of classes or functions, as the page's coloured code: what is read is what is imported."""
    sources = [textwrap.dedent(inspect.getsource(item)).strip() for item in objects]
    return Markdown("```python\n" + "\n\n\n".join(sources) + "\n```")


def show_javascript(path: str | Path, *names: str) -> Markdown:
    """Functions of a script, each with the comment above it, as the page's coloured code: what is read is what runs.

    Args:
        path: the script; its functions begin with ``function NAME(`` and end with a brace in the first column.
        names: of the functions, in the order in which to show them.

    Raises:
        ValueError: the script has no such function.

    Example:
        >>> import tempfile
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
