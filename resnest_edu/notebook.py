"""What the book's notebooks need to show the package's own source."""

import inspect
import textwrap
from collections.abc import Callable

from IPython.display import Markdown


def show_source(*objects: type | Callable) -> Markdown:
    """The source of classes or functions, as the page's coloured code: what is read is what is imported."""
    sources = [textwrap.dedent(inspect.getsource(item)).strip() for item in objects]
    return Markdown("```python\n" + "\n\n\n".join(sources) + "\n```")
