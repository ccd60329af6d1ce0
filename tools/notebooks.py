"""Run the book's notebooks, and keep the stored ones in one normal form.

    python -m tools.notebooks [NOTEBOOK ...]           run, and store the outputs in place
    python -m tools.notebooks --check [NOTEBOOK ...]   say what is not as `make notebooks` would leave it

Without names, every notebook of `_toc.yml`. A notebook runs in a fresh kernel of this very Python, in its own
folder, as under nbval, and always with the package that lies beside it.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from sphinx_external_toc.parsing import parse_toc_yaml
from traitlets import default

ROOT = Path(__file__).resolve().parent.parent
CELL_SECONDS = 1800
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
# What the front ends write into a cell's metadata, and which says nothing about the chapter.
VOLATILE = (
    "execution",
    "ExecuteTime",
    "collapsed",
    "scrolled",
    "jupyter",
    "pycharm",
    "vscode",
    "id",
    "outputId",
    "colab",
)
MACHINE_PATH = re.compile(
    r"(?<![\w.:/])/(?:home|root|Users|tmp|work|mnt|opt|var|usr)/\S+|\b[A-Z]:\\\w+|site-packages"
)
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")


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


def place(name: str, cells: list[NotebookNode], index: int) -> str:
    number = sum(cell.cell_type == "code" for cell in cells[: index + 1])
    return f"{name}: cell [{number}] (id {cells[index].get('id', 'none')})"


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


# --- the normal form


def normalise(notebook: NotebookNode) -> NotebookNode:
    """A copy with nothing in it that changes from run to run, but for what the cells themselves print."""
    notebook = copy.deepcopy(notebook)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict({**notebook.metadata, **METADATA})
    for key in ("widgets", "toc", "colab", "vscode"):
        notebook.metadata.pop(key, None)
    seen: set[str] = set()
    count = 0
    for index, cell in enumerate(notebook.cells):
        if not cell.get("id") or cell["id"] in seen:
            cell["id"] = hashlib.sha256(f"{index}:{cell.source}".encode()).hexdigest()[:8]
        seen.add(cell["id"])
        for key in VOLATILE:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count if cell.source.strip() else None
            cell.outputs = _merged(cell.outputs)
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count
                output.pop("transient", None)
    return notebook


def _merged(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Consecutive texts of one stream are one output: how they were split is chance."""
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def dumps(notebook: NotebookNode) -> str:
    """The file's text: sorted keys, one space of indent, one newline at the end."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook, version=4).rstrip("\n") + "\n"


def faults(notebook: NotebookNode, name: str) -> list[str]:
    """What keeps a notebook from being stored, a line for each cell."""
    found = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        where = place(name, notebook.cells, index)
        if cell.source.rstrip().endswith(";"):
            found.append(f"{where} ends in ';', which nbval does not heed; end with plt.show()")
        for output in cell.outputs:
            text = _text(output)
            if output.output_type == "error":
                found.append(f"{where} holds an error: {output.ename}: {output.evalue}")
            elif output.output_type == "stream" and output.name == "stderr":
                found.append(f"{where} wrote to stderr: {output.text.strip().splitlines()[-1:]}")
            elif "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
                found.append(f"{where} shows a widget, which needs scripts from elsewhere")
            elif path := MACHINE_PATH.search(text):
                found.append(f"{where} prints a path of this machine: {path.group()}")
            elif address := ADDRESS.search(text):
                found.append(f"{where} prints a memory address: {address.group()}")
    return found


def _text(output: NotebookNode) -> str:
    if output.output_type == "stream":
        return str(output.text)
    data: dict[str, Any] = output.get("data", {})
    return "\n".join(str(value) for kind, value in data.items() if kind.startswith("text/"))


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
    found += _unasserted(notebook, name)
    if not found and text != dumps(normalise(notebook)):
        found.append(f"{name}: not in normal form; run make notebooks NB={name}")
    return found


def _unasserted(notebook: NotebookNode, name: str) -> Iterator[str]:
    """Cells whose output is not compared, and after which nothing is asserted either."""
    for index, cell in enumerate(notebook.cells):
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            rest = [later.source for later in notebook.cells[index:] if later.cell_type == "code"]
            if not any(re.search(r"^\s*assert\b|\.assert_", source, re.MULTILINE) for source in rest):
                yield f"{place(name, notebook.cells, index)} is not compared, and no assertion follows it"


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
