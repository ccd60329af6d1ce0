"""The one form in which notebooks are stored, and what keeps a notebook from being stored at all."""

from __future__ import annotations

import copy
import hashlib
import re

import nbformat
from nbformat import NotebookNode

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
# Of a cell's metadata, what belongs to the chapter; the rest is of front ends.
OF_CELLS = ("tags", "mystnb")
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|Users|tmp|work|mnt|opt|var|usr)/\S+|\b[A-Z]:\\\w+|site-packages")
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")


def normalise(notebook: NotebookNode) -> NotebookNode:
    """A copy with nothing in it that changes from run to run, but for what the cells themselves print."""
    notebook = copy.deepcopy(notebook)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(METADATA)
    seen: set[str] = set()
    count = 0
    for index, cell in enumerate(notebook.cells):
        if not cell.get("id") or cell["id"] in seen:
            cell["id"] = hashlib.sha256(f"{index}:{cell.source}".encode()).hexdigest()[:8]
        seen.add(cell["id"])
        cell.metadata = nbformat.from_dict({name: cell.metadata[name] for name in OF_CELLS if name in cell.metadata})
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
        if merged and output.output_type == "stream" and merged[-1].get("name") == output.name:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def dumps(notebook: NotebookNode) -> str:
    """The file's text: sorted keys, one space of indent, one newline at the end."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook, version=4).rstrip("\n") + "\n"


def faults(notebook: NotebookNode, name: str) -> list[str]:
    """What keeps a notebook from being stored, a line each."""
    found = []
    code = (cell for cell in notebook.cells if cell.cell_type == "code")
    for number, cell in enumerate(code, start=1):
        told = [_fault(output) for output in cell.outputs]
        if cell.source.rstrip().endswith(";"):
            told.append("ends in ';', which nbval does not heed; end with plt.show()")
        found += [f"{name}: cell [{number}] (id {cell.get('id', 'none')}) {fault}" for fault in told if fault]
    return found


def _fault(output: NotebookNode) -> str | None:
    if output.output_type == "error":
        return f"holds an error: {output.ename}: {output.evalue}"
    if output.output_type == "stream" and output.name == "stderr":
        return f"wrote to stderr: {output.text.strip().splitlines()[-1:]}"
    data = output.get("data", {"text/plain": output.get("text")})
    text = "\n".join(str(value) for kind, value in data.items() if kind.startswith("text/"))
    if "application/vnd.jupyter.widget-view+json" in data:
        return "shows a widget, which needs scripts from elsewhere"
    if path := MACHINE_PATH.search(text):
        return f"prints a path of this machine: {path.group()}"
    if address := ADDRESS.search(text):
        return f"prints a memory address: {address.group()}"
    return None
