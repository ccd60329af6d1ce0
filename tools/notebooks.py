"""The stored notebooks: which there are, and the one form they are kept in.

    python -m tools.notebooks --store [NOTEBOOK ...]   put what they printed when they ran last into the files
    python -m tools.notebooks --check [NOTEBOOK ...]   say what is not as `make notebooks` would leave it

Without names, every notebook of `_toc.yml`. They run under nbval (`book/conftest.py`), which keeps what ran.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import nbformat

from tools import executed
from tools.normal_form import dumps, faults, normalise

ROOT = Path(__file__).resolve().parent.parent


def toc_notebooks(root: Path = ROOT) -> list[Path]:
    """The notebooks that `_toc.yml` lists, in reading order."""
    names = re.findall(r"(?:root|file): *(\S+)", (root / "_toc.yml").read_text(encoding="utf-8"))
    return [root / f"{name}.ipynb" for name in names if (root / f"{name}.ipynb").exists()]


def shown(path: Path, root: Path = ROOT) -> str:
    path = path.resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def check(path: Path, root: Path = ROOT) -> list[str]:
    """What `make notebooks` would mend in the stored notebook, or refuse to store."""
    name, text = shown(path, root), path.read_text(encoding="utf-8")
    # Reading mends repeated ids without a word, so they are looked for in the file itself.
    ids = [str(cell.get("id")) for cell in json.loads(text)["cells"]]
    if twice := sorted({key for key in ids if ids.count(key) > 1}):
        return [f"{name}: the cell id {key!r} is used twice" for key in twice]
    notebook = nbformat.reads(text, as_version=4)
    found = faults(notebook, name)
    code = [cell for cell in executed.code_cells(notebook) if cell.source.strip()]
    if not any(cell.outputs for cell in code) or any(cell.execution_count is None for cell in code):
        found.append(f"{name}: no stored outputs, or not all; run make notebooks NB={name}")
    elif not found and text != dumps(normalise(notebook)):
        found.append(f"{name}: not in normal form; run make notebooks NB={name}")
    return found


def store(path: Path, root: Path = ROOT) -> list[str]:
    """Store what the notebook printed when it ran last, unless there is a fault in that."""
    name, ran = shown(path, root), executed.kept(path)
    if ran is None:
        return [f"{name}: has not run since it, or something it depends on, was changed; run make notebooks NB={name}"]
    found = faults(ran, name)
    if not found and (text := dumps(normalise(ran))) != path.read_text(encoding="utf-8"):
        path.write_text(text, encoding="utf-8")
    return [f"not stored: {fault}" for fault in found]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.notebooks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks (default: all in _toc.yml)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--store", action="store_true", help="store the outputs of the last run")
    what.add_argument("--check", action="store_true", help="check what is stored")
    options = parser.parse_args(arguments)
    do = check if options.check else store
    found = [fault for path in options.notebooks or toc_notebooks() for fault in do(path)]
    print("\n".join(found), file=sys.stderr, end="\n" * bool(found))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
