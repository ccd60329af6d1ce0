"""How `make nbval` runs the chapters and compares what they print with what is stored.

Every code cell is run in a fresh kernel, in the notebook's folder, and must neither fail nor print anything
but its stored output. Not compared are pictures (their bytes depend on fonts and versions) and stderr
(`python -m tools.notebooks --check` already refuses a stored notebook that has any).

A cell whose output depends on timing, on training or on the machine carries the tag `nbval-ignore-output` and
is followed by a cell that asserts what must hold all the same: without it nothing would be checked.

    {"tags": ["nbval-ignore-output"]}

A figure gets its alternative text and its caption from the cell's metadata; without, the text is a file name:

    {"mystnb": {"image": {"alt": "What one sees"}, "figure": {"name": "fig-gate", "caption": "Why"}}}

A last line that ends in `;` still prints its value here, so a plotting cell ends in `plt.show()`.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOT_COMPARED = ("stderr", "image/png", "image/jpeg", "image/svg+xml", "image/gif", "application/pdf")


def pytest_configure() -> None:
    # Kernels start in the notebooks' folders; they import the package that lies beside the book.
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def pytest_collectstart(collector: pytest.Collector) -> None:
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += NOT_COMPARED
