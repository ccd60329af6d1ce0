"""What the book adds to Sphinx: buttons when there is an address, and pages that are written anew when they must.

An incremental build writes the pages whose own sources changed. The others quote from them all the same: titles in the
sidebar, numbers of figures and equations, targets of links; and a link whose target is gone is told only when the
page that holds it is written. Files that are no pages (styles, scripts, bibliography) are copied only when one is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment


def only_with_address(app: Sphinx, config: Config) -> None:
    """Take the buttons that need the repository's address out of the theme's options while there is none."""
    if not config.html_theme_options.get("repository_url"):
        for name in ("use_repository_button", "use_issues_button", "use_edit_page_button", "launch_buttons"):
            config.html_theme_options.pop(name, None)


def to_write(app: Sphinx, env: BuildEnvironment) -> Iterable[str]:
    """The names of all pages if what they share is not as it was in the last build, else none."""
    titles = {name: title.astext() for name, title in env.titles.items()}
    shared = [titles, env.toctree_includes, env.toc_secnumbers, env.toc_fignumbers, env.domaindata]
    digest = hashlib.sha256(in_any_order(shared).encode())
    for file in sorted(Path(app.srcdir).rglob("*")):
        if file.is_file() and file.suffix not in app.config.source_suffix:
            digest.update(file.read_bytes())
    before, now = getattr(env, "shared_by_pages", None), digest.hexdigest()
    env.shared_by_pages = now  # type: ignore[attr-defined]
    return [] if now == before else list(env.all_docs)


def in_any_order(thing: object) -> str:
    """`thing` in words that do not depend on the order in which pages were read, nor on where it lies in memory."""
    if isinstance(thing, dict):
        return str(sorted(f"{key!r}: {in_any_order(value)}" for key, value in thing.items()))
    if isinstance(thing, list | set):
        return str(sorted(in_any_order(one) for one in thing))
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", only_with_address)
    app.connect("env-get-updated", to_write, priority=900)  # after Sphinx has given the numbers
    return {"parallel_read_safe": True}
