"""Chapters run when something they depend on has changed; the first failure ends a chapter, and not the others."""

import io
import json
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import nbformat
import pytest
from nbformat import NotebookNode, v4

from resnest_edu.book import fingerprint
from tools import executed

Write = Callable[..., Path]


def run(root: Path, *options: str) -> tuple[int, str]:
    """Run the chapters under `root` as `make nbval` does, but in this process: another would load torch anew."""
    (root / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    said = io.StringIO()
    with mock.patch.dict(os.environ), pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(executed, "ROOT", root)
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        plugins = [f"-p{name}" for name in ("nbval.plugin", "tools.chapters", "no:cacheprovider")]
        with redirect_stdout(said), redirect_stderr(said):
            status = pytest.main(["-q", *plugins, *(options or ["--nbval"]), "book"])
    return status, said.getvalue()


def test_a_run_of_chapters(tmp_path: Path, write: Write) -> None:
    good = write(
        "import os, tempfile\nx, folder = 1, tempfile.mkdtemp()",
        "with open('../runs', 'a') as file:\n    print(folder, file=file)\nprint(x)",
    )
    write("x = 1", "y = x\nz = y / 0", "print('never')", name="book/bad.ipynb")
    write("1 / 0", name="book/end.ipynb")  # nothing is left to skip
    status, said = run(tmp_path, "--nbval-lax")
    assert status == 1
    assert "book/bad.ipynb" in said and "Cell 1" in said and "z = y / 0" in said and "division by zero" in said
    assert " s, failed" in said and "chapter.ipynb: " in said
    assert "3 passed, 1 skipped" in said.replace("2 failed, ", "")
    assert not Path((tmp_path / "runs").read_text().strip()).exists()  # a chapter leaves no files behind
    kept = executed_files(tmp_path)
    assert [path.name for path in kept] == ["chapter.ipynb"]  # what failed is not kept
    for name in ("bad", "end"):
        (tmp_path / "book" / f"{name}.ipynb").unlink()

    stored = nbformat.read(kept[0], as_version=4)
    stored.metadata.pop("key")
    nbformat.write(stored, good)
    status, said = run(tmp_path)
    assert (status, "chapter.ipynb: unchanged" in said) == (0, True), said

    stored.cells[2].outputs[0].text = "2\n"  # tampered with
    nbformat.write(stored, good)
    status, said = run(tmp_path)
    assert status == 1 and "Cell outputs differ" in said and "unchanged, failed" in said
    assert len((tmp_path / "runs").read_text().splitlines()) == 1  # ran once in all


def executed_files(root: Path) -> list[Path]:
    return sorted((root / "_build" / "executed").rglob("*.ipynb"))


def test_a_dependence_that_the_key_does_not_see_is_an_error_and_so_is_a_tag_that_lets_a_cell_fail(
    tmp_path: Path, write: Write
) -> None:
    (tmp_path / "book" / "results").mkdir(parents=True)
    (tmp_path / "book" / "results" / "speed.json").write_text("{}")
    write("open('results/' + 'spe' + 'ed.json').read()")
    status, said = run(tmp_path, "--nbval-lax")
    assert status == 1 and "chapter.ipynb depends on ['book/results/speed.json']" in said
    assert executed_files(tmp_path) == []
    write("1 / 0", tags=("raises-exception",))
    status, said = run(tmp_path)
    assert status != 0 and "is tagged to fail" in said


ALPHA = """
def used():
    return helper()

def helper():
    # one
    return 1

def other():
    return 2
"""
SOURCES = {"resnest_edu": "", "resnest_edu.alpha": ALPHA}
CELL = "from resnest_edu import alpha\nfrom resnest_edu.alpha import used\nused()  # shown in figure.json"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A package of one module and a folder of recordings, for keys alone."""
    sources = dict(SOURCES)
    monkeypatch.setattr(fingerprint, "_source", sources.get)
    monkeypatch.setattr(executed, "ROOT", tmp_path)
    (tmp_path / "book" / "results").mkdir(parents=True)
    return sources


def notebook(*sources: str, **metadata: list[str]) -> NotebookNode:
    return v4.new_notebook(cells=[v4.new_code_cell(source, metadata=metadata) for source in sources])


def key(*sources: str, **metadata: list[str]) -> str:
    executed._reached_text.cache_clear()
    return executed.key(notebook(*sources, **metadata))


def test_the_key_follows_what_is_used_and_nothing_else(
    project: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key(CELL)
    assert before == key(CELL)
    assert before != key(CELL + " ") and before != key(CELL, tags=["nbval-ignore-output"])
    for old, new, changes in [
        ("return 2", "return 3", False),  # not used
        ("return 1", "return 3", True),
        ("# one", "# two", True),  # the page may show it
    ]:
        project["resnest_edu.alpha"] = ALPHA.replace(old, new)
        assert (key(CELL) != before) == changes, new
    helper = "def helper():\n    # one\n    return 1\n"
    project["resnest_edu.alpha"] = "from resnest_edu.beta import helper\n" + ALPHA.replace(helper, "")
    project["resnest_edu.beta"] = helper
    assert key(CELL) != before  # the page may import it from where it was
    project.update(SOURCES)
    results = tmp_path / "book" / "results"
    (results / "other.json").write_text("1")
    assert key(CELL) == before
    (results / "figure.json").write_text("1")
    recorded = key(CELL)
    (results / "figure.json").write_text("2")
    assert len({before, recorded, key(CELL)}) == 3
    monkeypatch.setattr(executed, "versions", lambda: "torch 99")
    assert key(CELL) != recorded


def test_what_was_loaded_is_held_against_the_key(project: dict[str, str], tmp_path: Path) -> None:
    package = tmp_path / "resnest_edu"
    package.mkdir()
    files = [
        package / "__init__.py",
        package / "alpha.py",
        package / "beta.py",
        tmp_path / "book" / "results" / "x.json",
    ]
    for file in files:
        file.touch()
    executed._reached_text.cache_clear()
    loaded = json.dumps([*map(str, files), "", "/somewhere/else.py"])
    assert executed.unkeyed(notebook(CELL), loaded) == ["book/results/x.json", "resnest_edu/beta.py"]


def test_another_environment_has_its_own_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def environment() -> str:
        executed.environment.cache_clear()
        return executed.environment()

    before = environment()
    for name in executed.ASKED:
        monkeypatch.setenv(name, "something else")
        assert environment() != before
        monkeypatch.undo()
    assert environment() == before
