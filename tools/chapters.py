"""The pytest plugin under which the chapters run: nbval, with memory, progress, and an end at the first failure."""

import copy
import os
import re
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

from tools import executed

NOT_COMPARED = ("stderr", "image/png", "image/jpeg", "image/svg+xml", "image/gif", "application/pdf")


class Chapter(IPyNbFile):
    """A notebook that does not run again if what it printed is kept."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.skip_compare += NOT_COMPARED
        self.cells: list[Cell] = []
        self.kept: list[nbformat.NotebookNode] | None = None
        self.broken = False  # by a cell without which those after it have no meaning
        self.failed = False
        self.begin = time.perf_counter()

    def collect(self) -> Iterator["Cell"]:
        for cell in super().collect():
            if cell.options["check_exception"] or cell.options["skip"]:
                raise self.CollectError(
                    f"{self.path.name}: cell [{cell.cell_num + 1}] is tagged to fail or to be skipped"
                )
            cell.cell.source = _with_seed(cell.cell.source)
            same = {name: getattr(cell, name) for name in ("name", "cell_num", "cell", "options")}
            self.cells.append(Cell.from_parent(self, **same))
        return iter(self.cells)

    def setup(self) -> None:
        self.begin = time.perf_counter()
        kept = executed.kept(self.path, self.nb)
        if kept is None:
            # Of its own, and removed with it: a kernel is killed at the end, and so never tidies up after itself.
            self.temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
            self.key = executed.key(self.nb)
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("TMPDIR", self.temporary.name)
                super().setup()
        else:
            self.kept = [cell.outputs for cell in executed.code_cells(kept)]

    def teardown(self) -> None:
        try:
            if self.kept is None and not self.broken and all(cell.test_outputs is not None for cell in self.cells):
                self.keep()
        finally:
            took = f"{time.perf_counter() - self.begin:.0f} s" if self.kept is None else "unchanged"
            self.cells[-1].user_properties.append(("chapter", took + ", failed" * self.failed))
            super().teardown()
            if self.kept is None:
                self.temporary.cleanup()

    def keep(self) -> None:
        notebook = copy.deepcopy(self.nb)
        pairs = zip(executed.code_cells(notebook), self.cells, strict=True)
        for number, (cell, ran) in enumerate(pairs, start=1):
            cell.outputs, cell.execution_count = ran.test_outputs, number
        said: list[dict[str, Any]] = []
        self.kernel.kc.execute_interactive(executed.LOADED, output_hook=said.append, timeout=60)
        loaded = "".join(message["content"].get("text", "") for message in said)
        if unkeyed := executed.unkeyed(self.nb, loaded):
            raise RuntimeError(f"{self.path.name} depends on {unkeyed}, which tools/executed.py does not see")
        executed.keep(self.path, notebook, self.key)


class Cell(IPyNbCell):
    def setup(self) -> None:
        if self.parent.broken:
            pytest.skip("a cell before it failed")

    def runtest(self) -> None:
        try:
            if self.parent.kept is None:
                super().runtest()
                return
            self.test_outputs = self.parent.kept[self.cell_num]
            if self.options["check"] and not self.compare_outputs(self.test_outputs, self.cell.outputs):
                self.raise_cell_error("Cell outputs differ", "\n".join(self.comparison_traceback))
        except Exception:
            ran = self.test_outputs is not None and all(one.output_type != "error" for one in self.test_outputs)
            self.parent.failed, self.parent.broken = True, not ran or self.parent.timed_out
            raise


def _with_seed(source: str) -> str:
    """A cell with the seed that `DEMONSTRATION_SEED` asks for: whatever it is, no page may fail."""
    seed = os.environ.get("DEMONSTRATION_SEED")
    return re.sub(r"^SEED = 0\b", f"SEED = {seed}", source, flags=re.MULTILINE) if seed else source


class Progress:
    """A line for every chapter that is through: how long it took, how many are left, and which run."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.left: set[str] = set()
        self.running: dict[str, None] = {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self.left = set(map(_file, ids))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.left = {_file(item.nodeid) for item in session.items}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running[_file(nodeid)] = None

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        return ("passed", "", "") if report.when == "call" and report.passed else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        took = dict(report.user_properties).get("chapter")
        if took and report.when == "teardown":
            chapter = _file(report.nodeid)
            self.left.discard(chapter)
            self.running.pop(chapter, None)
            now = f", now {', '.join(Path(name).stem for name in self.running)}" if self.running else ""
            terminal = self.config.pluginmanager.getplugin("terminalreporter")
            terminal.ensure_newline()
            terminal.write_line(f"  {chapter}: {took}   ({len(self.left)} left{now})")


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Generator[None, list[Any], list[Any]]:
    found = yield
    return [Chapter.from_parent(parent, path=file_path) if isinstance(one, IPyNbFile) else one for one in found]


def pytest_configure(config: pytest.Config) -> None:
    executed.prepare()
    config.option.nbval_current_env = True  # whatever kernel a notebook asks for: this Python
    if (config.option.nbval or config.option.nbval_lax) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(config), "chapters")
