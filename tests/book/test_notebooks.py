"""The executor and the normal form of stored notebooks."""

import os
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tools import notebooks
from tools.normal_form import dumps, faults, normalise
from tools.notebooks import CellFailure, check, run, store, toc_notebooks

Write = Callable[..., Path]


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def test_store_runs_and_leaves_the_normal_form(write: Write) -> None:
    path = write("x = 1\nx + 1", "print('a')\nprint('b', flush=True)\nprint('c')")
    assert check(path)  # nothing stored yet
    assert store(path) == []
    assert check(path) == []
    cells = read(path).cells
    assert [cell.get("execution_count") for cell in cells] == [None, 1, 2]
    assert cells[1].outputs[0].data["text/plain"] == "2"
    assert [output.text for output in cells[2].outputs] == ["a\nb\nc\n"]
    assert [cell.id for cell in cells] == ["title", "cell0", "cell1"]


def test_storing_twice_changes_nothing(write: Write) -> None:
    path = write("{'a': 1}", "print(3)")
    store(path)
    first = path.read_bytes()
    store(path)
    assert path.read_bytes() == first
    assert first.endswith(b"}\n")


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


def test_a_failing_cell_is_named(write: Write, tmp_path: Path) -> None:
    path = write("x = 1", "y = x\nz = y / 0")
    with pytest.raises(CellFailure) as failure:
        run(path, root=tmp_path)
    message = str(failure.value)
    assert "book/chapter.ipynb: cell [2] (id cell1) failed" in message
    assert "| y = x" in message and "line 2: z = y / 0" in message and "ZeroDivisionError: division by zero" in message


def test_the_tag_for_expected_errors_does_not_help(write: Write) -> None:
    with pytest.raises(CellFailure):
        run(write("1 / 0", tags=("raises-exception",)))


def test_a_dead_kernel_is_a_failing_cell(write: Write) -> None:
    with pytest.raises(CellFailure, match=r"cell \[2\] \(id cell1\) failed"):
        run(write("x = 1", "import os\nos._exit(3)"))


def test_a_cell_over_its_time_is_a_failing_cell(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebooks, "CELL_SECONDS", 1)
    with pytest.raises(CellFailure, match=r"cell \[1\] .*failed"):
        run(write("import time\ntime.sleep(60)"))


def test_a_failing_notebook_is_left_as_it_was(write: Write) -> None:
    path = write("1 / 0")
    before = path.read_bytes()
    assert notebooks.main([str(path)]) == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import sys\nprint('careful', file=sys.stderr)", "wrote to stderr"),
        ("print('/home/someone/data')", "path of this machine"),
        ("object()", "memory address"),
        ("1;", "does not heed"),
    ],
)
def test_what_must_not_be_stored_is_refused(
    write: Write, source: str, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("1", source)
    before = path.read_bytes()
    assert notebooks.main([str(path)]) == 1
    assert path.read_bytes() == before
    said = capsys.readouterr().err
    assert "not stored" in said and "cell [2] (id cell1)" in said and fault in said


def test_an_address_in_the_web_is_no_path_of_this_machine(write: Write) -> None:
    assert faults(run(write("print('https://example.org/home/data and and/or/usr/bin')")), "x") == []


def test_check_finds_each_departure(write: Write) -> None:
    path = write("1")
    store(path)
    stored = path.read_text(encoding="utf-8")

    def faulty(old: str, new: str) -> list[str]:
        assert old in stored
        path.write_text(stored.replace(old, new), encoding="utf-8")
        return check(path)

    assert "not in normal form" in faulty('"execution_count": 1', '"execution_count": 2')[0]
    assert "used twice" in faulty('"id": "cell0"', '"id": "title"')[0]
    assert "not in normal form" in faulty("}\n", "}\n\n")[0]
    path.write_text(dumps(normalise(read(write("1")))), encoding="utf-8")
    assert "no stored outputs" in check(path)[0]


def test_an_uncompared_cell_needs_an_assertion_after_it(write: Write) -> None:
    path = write("x = 3\nx", tags=("nbval-ignore-output",))
    store(path)
    assert "no assertion follows" in check(path)[0]
    path = write("x = 3\nx", "assert x", tags=("nbval-ignore-output",))
    store(path)
    assert check(path) == []


def test_notebooks_run_in_their_folder_with_this_python_and_this_package(write: Write) -> None:
    path = write("import os, sys, resnest_edu\nprint(os.getcwd(), sys.executable, resnest_edu.__file__, sep='\\n')")
    folder, python, package = run(path).cells[1].outputs[0].text.split()
    assert Path(folder).samefile(path.parent)
    assert python == os.path.abspath(notebooks.sys.executable)
    assert Path(package).is_relative_to(notebooks.ROOT)


def test_chapters_come_in_reading_order(sample: Path, write: Write) -> None:
    write("1", name="book/alpha.ipynb")
    with (sample / "_toc.yml").open("a", encoding="utf-8") as toc:
        toc.write("      - file: book/alpha\n")
    assert [path.name for path in toc_notebooks(sample)] == ["chapter.ipynb", "alpha.ipynb"]
