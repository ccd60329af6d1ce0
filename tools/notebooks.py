"""Run the book's notebooks, and keep the stored ones in one normal form.

    python -m tools.notebooks [NOTEBOOK ...]           run, and store the outputs in place
    python -m tools.notebooks --check [NOTEBOOK ...]   say what is not as `make notebooks` would leave it

Without names, every notebook of `_toc.yml`. A notebook runs in a fresh kernel of this very Python, in its own
folder, as under nbval, and always with the package that lies beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from sphinx_external_toc.parsing import parse_toc_yaml
from traitlets import default

from tools.normal_form import dumps, faults, normalise, place, unasserted

ROOT = Path(__file__).resolve().parent.parent
CELL_SECONDS = 1800


class CellFailure(Exception):
    """A cell raised, was too slow, or took its kernel down. The message names the cell and the cause."""


# --- which notebooks


def toc_notebooks(root: Path = ROOT) -> list[Path]:
    """The notebooks that `_toc.yml` lists, in reading order."""
    site_map = parse_toc_yaml(root / "_toc.yml")

    def walk(name: str) -> Iterator[str]:
        yield name
        document = site_map[name]
        for child in document.child_files() if document else []:
            yield from walk(str(child))

    stems = (name.removesuffix(".ipynb").removesuffix(".md") for name in walk(site_map.root.docname))
    return [path for stem in stems if (path := root / f"{stem}.ipynb").exists()]


def shown(path: Path, root: Path = ROOT) -> str:
    path = path.resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


# --- running


class _ThisPython(KernelSpecManager):
    """Whatever kernel is asked for and whatever is installed: the Python that runs this."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict(["--log-level=ERROR"]))


class _Kernel(AsyncKernelManager):
    @default("kernel_spec_manager")
    def _this_python(self) -> _ThisPython:
        return _ThisPython(parent=self)


def execute(notebook: NotebookNode, folder: Path, name: str, root: Path = ROOT) -> None:
    """Run every cell of `notebook` in a fresh kernel that works in `folder`; outputs replace the old ones.

    Raises `CellFailure` at the first cell that fails, tagged `raises-exception` or not: what is meant to fail
    is caught in the chapter and its message printed, so that no page shows a traceback.
    """
    running = {"cell": 0}

    def note(cell: NotebookNode, cell_index: int) -> None:
        running["cell"] = cell_index

    client = NotebookClient(
        notebook,
        kernel_manager_class=_Kernel,
        kernel_name="python3",
        timeout=CELL_SECONDS,
        force_raise_errors=True,
        resources={"metadata": {"path": str(folder)}},
        on_cell_execute=note,
    )
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        client.execute(env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    except CellExecutionError as error:
        what = f"{error.ename}: {error.evalue}"
        arrow = re.search(r"^-+> *(\d+) (.*)$", re.sub(r"\x1b\[[0-9;]*m", "", error.traceback), re.MULTILINE)
        if arrow:
            what = f"line {arrow.group(1)}: {arrow.group(2).strip()}\n  {what}"
    except Exception as error:  # a dead kernel, a cell over its time
        what = f"{type(error).__name__}: {error}"
    else:
        return
    cells = notebook.cells
    index = running["cell"]
    head = [line for line in cells[index].source.splitlines() if line.strip()][:5]
    lines = [f"{place(name, cells, index)} failed", *(f"    | {line}" for line in head), f"  {what}"]
    raise CellFailure("\n".join(lines))


def run(path: Path, name: str | None = None, root: Path = ROOT) -> NotebookNode:
    """Execute the notebook at `path` in its own folder and return it, with one line of progress."""
    name = name or shown(path, root)
    notebook = nbformat.read(path, as_version=4)
    print(f"  {name} … ", end="", flush=True)
    begin = time.perf_counter()
    try:
        execute(notebook, path.parent, name, root)
    except CellFailure:
        print("failed", flush=True)
        raise
    print(f"{time.perf_counter() - begin:.1f} s", flush=True)
    return normalise(notebook)


# --- what is stored


def check(path: Path, root: Path = ROOT) -> list[str]:
    """What `make notebooks` would mend in the stored notebook, or refuse to store."""
    name, text = shown(path, root), path.read_text(encoding="utf-8")
    # Reading mends repeated ids without a word, so they are looked for in the file itself.
    ids = [str(cell.get("id")) for cell in json.loads(text)["cells"]]
    if twice := sorted({key for key in ids if ids.count(key) > 1}):
        return [f"{name}: the cell id {key!r} is used twice" for key in twice]
    notebook = nbformat.reads(text, as_version=4)
    found = faults(notebook, name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if not code:
        found.append(f"{name}: no code cell")
    elif not any(cell.outputs for cell in code):
        found.append(f"{name}: no stored outputs; run make notebooks NB={name}")
    elif any(cell.execution_count is None for cell in code):
        found.append(f"{name}: a cell was never run; run make notebooks NB={name}")
    found += unasserted(notebook, name)
    if not found and text != dumps(normalise(notebook)):
        found.append(f"{name}: not in normal form; run make notebooks NB={name}")
    return found


def store(path: Path, root: Path = ROOT) -> list[str]:
    """Run the notebook and store its outputs in place, unless there is a fault in them."""
    notebook = run(path, root=root)
    found = faults(notebook, shown(path, root))
    if not found and (text := dumps(notebook)) != path.read_text(encoding="utf-8"):
        path.write_text(text, encoding="utf-8")
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.notebooks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks (default: all in _toc.yml)")
    parser.add_argument("--check", action="store_true", help="run nothing; check the stored notebooks")
    options = parser.parse_args(arguments)
    failed = False
    for path in options.notebooks or toc_notebooks():
        try:
            found = check(path) if options.check else store(path)
        except CellFailure as failure:
            found = [str(failure)]
        if found:
            failed = True
            note = "" if options.check else "not stored: "
            print("\n".join(note + line for line in found), file=sys.stderr, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
