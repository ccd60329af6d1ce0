"""The stored notebooks and their normal form."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode, v4

from tools import executed, notebooks
from tools.normal_form import dumps, faults, normalise
from tools.notebooks import check, store, toc_notebooks

Write = Callable[..., Path]


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executed, "ROOT", tmp_path)


def stream(text: str, name: str = "stdout") -> NotebookNode:
    return v4.new_output("stream", name=name, text=text)


def ran(path: Path, *outputs: list[NotebookNode]) -> None:
    """Keep the notebook as if its code cells had printed this."""
    notebook = read(path)
    for number, (cell, printed) in enumerate(zip(notebook.cells[1:], outputs, strict=True), start=1):
        cell.outputs, cell.execution_count = printed, number
    executed.keep(path, notebook, executed.key(read(path)))


def test_what_ran_is_stored_in_normal_form(write: Write) -> None:
    path = write("1 + 1", "print('a')")
    assert "no stored outputs" in check(path)[0]
    assert "has not run since" in store(path)[0]
    result = v4.new_output("execute_result", {"text/plain": "2"}, execution_count=1)
    ran(path, [result], [stream("a\n"), stream("b\n")])
    assert store(path) == check(path) == []
    cells = read(path).cells
    assert [cell.get("execution_count") for cell in cells] == [None, 1, 2]
    assert [output.text for output in cells[2].outputs] == ["a\nb\n"]
    assert "key" not in read(path).metadata
    before = path.read_bytes()
    assert store(path) == [] and path.read_bytes() == before  # storing outputs makes no run stale
    path.write_text(path.read_text(encoding="utf-8").replace("A chapter", "Another"), encoding="utf-8")
    rendered = executed.runs([path])["book/chapter.ipynb"]
    assert store(path) == [] and all("Another" in read(file).cells[0].source for file in (path, rendered))
    path.write_text(path.read_text(encoding="utf-8").replace("1 + 1", "1 + 2"), encoding="utf-8")
    assert executed.runs([path]) == {}
    assert "has not run since" in store(path)[0]


def test_normal_form_is_idempotent_and_drops_what_a_front_end_leaves(write: Write) -> None:
    notebook = read(write("1", "2"))
    notebook.metadata["kernelspec"] = {"name": "some-env", "display_name": "Some env", "language": "python"}
    notebook.metadata["language_info"] = {"name": "python", "version": "3.99.0"}
    notebook.metadata["widgets"] = {"state": {}}
    cell = notebook.cells[1]
    cell.metadata["execution"] = {"iopub.execute_input": "2020-01-01"}
    cell.metadata["tags"] = ["hide-input"]
    cell.execution_count = 17
    cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "1"}, execution_count=17)]
    notebook.cells[2]["id"] = cell["id"]
    normal = normalise(notebook)
    assert dumps(normalise(normal)) == dumps(normal) == dumps(normalise(notebook))
    assert "3.99.0" not in dumps(normal) and "some-env" not in dumps(normal)
    assert set(normal.metadata) == {"kernelspec", "language_info"}
    assert dict(normal.cells[1].metadata) == {"tags": ["hide-input"]}
    assert normal.cells[1].execution_count == normal.cells[1].outputs[0].execution_count == 1
    assert len({cell.id for cell in normal.cells}) == 3
    assert normal.cells[1].id == "cell0"


def test_what_must_not_be_stored_is_refused(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    for source, output, fault in [
        ("1", stream("careful", "stderr"), "wrote to stderr"),
        ("1", stream("/home/someone/data"), "path of this machine"),
        ("1", v4.new_output("execute_result", {"text/plain": "<object at 0x7f0123456789>"}), "memory address"),
        ("1", v4.new_output("error", ename="E", evalue="x"), "holds an error: E: x"),
        ("1", v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}}), "shows a widget"),
        ("1;", stream("1"), "does not heed"),
    ]:
        path = write("1", source)
        ran(path, [], [output])
        before = path.read_bytes()
        assert notebooks.main(["--store", str(path)]) == 1
        assert path.read_bytes() == before
        said = capsys.readouterr().err
        assert "not stored" in said and "cell [2] (id cell1)" in said and fault in said
    notebook = read(path)
    notebook.cells[1].outputs = [stream("https://example.org/home/data and and/or/usr/bin")]
    assert [fault for fault in faults(notebook, "x") if "path" in fault] == []


def test_check_finds_each_departure(write: Write) -> None:
    path = write("1")
    ran(path, [stream("1\n")])
    assert store(path) == []
    stored = path.read_text(encoding="utf-8")
    for old, new, fault in [
        ('"execution_count": 1', '"execution_count": 2', "not in normal form"),
        ('"id": "cell0"', '"id": "title"', "used twice"),
        ("}\n", "}\n\n", "not in normal form"),
    ]:
        assert old in stored
        path.write_text(stored.replace(old, new), encoding="utf-8")
        assert fault in check(path)[0]


def test_chapters_come_in_reading_order(sample: Path, write: Write) -> None:
    write("1", name="book/alpha.ipynb")
    with (sample / "_toc.yml").open("a", encoding="utf-8") as toc:
        toc.write("      - file: book/alpha\n")
    assert [path.name for path in toc_notebooks(sample)] == ["chapter.ipynb", "alpha.ipynb"]
