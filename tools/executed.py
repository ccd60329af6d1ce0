"""Notebooks that ran are kept, and run again only when something that their outputs depend on has changed.

A run is kept under `_build/executed/ENVIRONMENT/`, with the key of what it was made from: the cells, the text of what
they reach of the package, the recordings and scripts that are named there, and the installed versions. ENVIRONMENT
stands for what else decides how a sum is rounded: Python, processor, instructions, threads. `unkeyed` then compares
what a kernel really loaded and opened with the key, so that no influence hides for long.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from resnest_edu.book.fingerprint import modules, reached

ROOT = Path(__file__).resolve().parent.parent
DATA = ("book/results", "book/_extra")
ASKED = {
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"),
    *("OMP_NUM_THREADS", "DEMONSTRATION_SEED"),
}
# Run in the kernel, first and last: what of this repository has been imported or opened.
STARTUP = """
import os as _os, sys as _sys
_opened = set()
def _note(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        _opened.add(_os.path.abspath(arguments[0]))
_sys.addaudithook(_note)
"""
LOADED = """
import json as _json, sys as _sys
print(_json.dumps(sorted({*_opened, *(getattr(m, "__file__", None) or "" for m in list(_sys.modules.values()))})))
"""


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@cache
def environment() -> str:
    """A name for this Python on this processor, as it is asked to compute."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else []
    processor = {line for line in lines if line.startswith(("model name", "flags"))} or {platform.processor()}
    asked = [f"{name}={os.environ.get(name)}" for name in sorted(ASKED)]
    return _hash(platform.python_version(), platform.platform(), str(os.cpu_count()), *sorted(processor), *asked)


@cache
def versions() -> str:
    return "\n".join(sorted({f"{one.metadata['Name']} {one.version}" for one in distributions()}))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _inputs(notebook: NotebookNode) -> tuple[str, str, list[Path]]:
    """The program of a notebook, the text of what it reaches of the package, with where that stands, and the recordings
    and scripts whose names stand in either."""
    program = "\n".join(cell.source for cell in code_cells(notebook))
    text = _reached_text(program)
    words = set(re.findall(r"[\w.-]+", f"{program}\n{text}"))
    words |= {word.strip(".") for word in words}
    files = [path for folder in DATA for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    return program, text, [path for path in files if path.name in words or path.stem in words]


@cache
def _reached_text(program: str) -> str:
    sources = {name: text.splitlines() for name, text in modules(program).items()}
    texts = []
    for module, statement in reached(program):
        if module in sources:
            first = min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", []))])
            texts.append("\n".join([module, *sources[module][first - 1 : statement.end_lineno]]))
    return "\n".join(sorted(texts))


def key(notebook: NotebookNode) -> str:
    """What the outputs of a notebook depend on, but for the environment, as a hash."""
    _, text, files = _inputs(notebook)
    data = [f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    cells = [f"{cell.metadata.get('tags')} {cell.source}" for cell in code_cells(notebook)]
    return _hash(*cells, text, *data, versions())


def unkeyed(notebook: NotebookNode, loaded: str) -> list[str]:
    """Of what a kernel says it has loaded and opened, the files of this repository that the key does not cover."""
    program, _, files = _inputs(notebook)
    covered = set(files)
    for name in modules(program):
        module = ROOT / name.replace(".", "/")
        covered |= {module.with_suffix(".py"), module / "__init__.py"}
    ours = [ROOT / folder for folder in ("resnest_edu", "book", "tools", "tests")]
    found = {Path(file) for file in json.loads(loaded) if any(Path(file).is_relative_to(folder) for folder in ours)}
    return sorted(str(file.relative_to(ROOT)) for file in found - covered if file.is_file() and file.suffix != ".pyc")


def _place(path: Path) -> Path:
    return ROOT / "_build" / "executed" / environment() / path.resolve().relative_to(ROOT)


def kept(path: Path, notebook: NotebookNode | None = None) -> NotebookNode | None:
    """The notebook at `path` with what it printed when it ran here, if its code has not changed since, nor anything it
    depends on. `notebook` is what it holds now, if that is not what the file holds."""
    if not _place(path).exists():
        return None
    ran, notebook = nbformat.read(_place(path), as_version=4), notebook or nbformat.read(path, as_version=4)
    notebook = copy.deepcopy(notebook)  # its texts may be others by now
    notebook.metadata["key"] = key(notebook)
    if ran.metadata.get("key") != notebook.metadata["key"]:
        return None
    for cell, before in zip(code_cells(notebook), code_cells(ran), strict=True):
        cell.outputs, cell.execution_count = before.outputs, before.execution_count
    return notebook


def runs(paths: Iterable[Path]) -> dict[str, Path]:
    """Files of those notebooks that are kept, as they are now, by name."""
    found = {}
    for path in paths:
        if (notebook := kept(path)) is not None:
            keep(path, notebook, notebook.metadata["key"])
            found[str(path.relative_to(ROOT))] = _place(path)
    return found


def keep(path: Path, notebook: NotebookNode, key: str) -> None:
    """Keep an executed notebook, whole or not at all; `key` is that from before it ran."""
    place = _place(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    notebook.metadata["key"] = key
    temporary = place.with_name(f"{place.name}.{os.getpid()}")
    nbformat.write(notebook, temporary)
    temporary.replace(place)


def prepare() -> None:
    """Point kernels that are started from here to this package, and keep the user's own settings out of them."""
    startup = ROOT / "_build" / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    (startup / "note_files.py").write_text(STARTUP, encoding="utf-8")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    os.environ["IPYTHONDIR"] = str(ROOT / "_build" / "ipython")
    os.environ["MPLCONFIGDIR"] = str(ROOT / "_build" / "matplotlib")
