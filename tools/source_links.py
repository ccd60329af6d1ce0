"""A Sphinx extension: pages of source that link back to where the book documents what they hold.

`sphinx.ext.viewcode` takes all names of a module to be documented under the one path that it met first. Here some go by
the path that one imports from, such as `resnest_edu.ResNeSt`, and others by that of their own module, such as
`resnest_edu.resnest.Trunk`.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import Any

from sphinx.application import Sphinx


def mend(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Make every link back lead to an anchor that is there."""
    if not pagename.startswith("_modules/"):
        return
    documented = app.env.get_domain("py").objects  # type: ignore[attr-defined]
    module = pagename.removeprefix("_modules/").replace("/", ".")

    def anchor(match: re.Match[str]) -> str:
        parts = match[2].split(".")
        inside = (".".join([module, *parts[i:]]) for i in range(1, len(parts)))
        found = (name for name in (match[2], *inside) if name in documented)
        return match[1] + next(found, match[2])

    context["body"] = re.sub(r'(class="viewcode-back" href="[^"#]*#)([^"]+)', anchor, context["body"])


def home(app: Sphinx, module: str | None, name: str | None) -> str | None:
    """For a constant, the module that it is documented in: `viewcode` would take its type's, such as `builtins`."""
    thing = getattr(sys.modules.get(module or ""), name or "", None)
    written = thing is None or isinstance(thing, type) or inspect.isroutine(thing)
    return None if written else module


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", mend)
    app.connect("viewcode-follow-imported", home)
    return {"parallel_read_safe": True}
