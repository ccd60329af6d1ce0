"""The one form in which notebooks are stored, and what keeps a notebook from being stored at all."""

from __future__ import annotations

import copy
import hashlib
import re
from typing import Any

import nbformat
from nbformat import NotebookNode

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
# What the front ends write into a cell's metadata, and which says nothing about the chapter.
FRONT_ENDS = ("jupyter", "pycharm", "vscode", "colab")
VOLATILE = (*FRONT_ENDS, "execution", "ExecuteTime", "collapsed", "scrolled", "id", "outputId")
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|Users|tmp|work|mnt|opt|var|usr)/\S+|\b[A-Z]:\\\w+|site-packages")
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")


def normalise(notebook: NotebookNode) -> NotebookNode:
    """A copy with nothing in it that changes from run to run, but for what the cells themselves print."""
    notebook = copy.deepcopy(notebook)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict({**notebook.metadata, **METADATA})
    for key in ("widgets", "toc", "colab", "vscode", "key"):
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


def place(name: str, cells: list[NotebookNode], index: int) -> str:
    number = sum(cell.cell_type == "code" for cell in cells[: index + 1])
    return f"{name}: cell [{number}] (id {cells[index].get('id', 'none')})"
