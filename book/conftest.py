"""How the chapters run, and how what they print is compared with the stored.

    pytest --nbval book        run every chapter and compare: `make nbval`
    pytest --nbval-lax book    run every chapter: what `make book` does first

Every code cell runs in a fresh kernel, in the notebook's folder. What ran is
kept (`tools/executed.py`): a chapter of which nothing has changed does not run
again, and its kept outputs are compared. Not compared are pictures, whose bytes
depend on fonts and versions, and stderr, which no stored notebook has.

A cell whose output depends on timing, on training or on the machine is a
demonstration. It carries the tag `nbval-ignore-output`, and nothing is asserted
of it but what holds for any draw on any processor:

    {"tags": ["nbval-ignore-output"]}

A figure gets its alternative text and its caption from the cell's metadata;
without, the text is a file name:

    {"mystnb": {"image": {"alt": "What one sees"},
                "figure": {"name": "fig-gate", "caption": "Why"}}}

A last line that ends in `;` still prints its value here, so a plotting cell
ends in `plt.show()`.
"""

from tools.chapters import pytest_collect_file, pytest_configure

__all__ = ["pytest_collect_file", "pytest_configure"]
