"""The pytest plugin under which the chapters run: nbval, with memory, progress, and an end at the first failure."""

import copy
import os
import re
from collections import Counter, defaultdict
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
        self.failed = False

    def collect(self) -> Iterator["Cell"]:
        for cell in super().collect():
            cell.cell.source = _with_seed(cell.cell.source)
            same = {name: getattr(cell, name) for name in ("name", "cell_num", "cell", "options")}
            self.cells.append(Cell.from_parent(self, **same))
        for cell in self.cells:
            if cell.options["check_exception"] or cell.options["skip"]:
                raise self.CollectError(
                    f"{self.path.name}: cell [{cell.cell_num + 1}] is tagged to fail or to be skipped"
                )
        return iter(self.cells)

    def setup(self) -> None:
        kept = executed.kept(self.path, self.nb)
        if kept is None:
            self.key = executed.key(self.nb)
            super().setup()
        else:
            self.kept = [cell.outputs for cell in kept.cells if cell.cell_type == "code"]

    def teardown(self) -> None:
        try:
            if self.kept is None and not self.failed and all(cell.test_outputs is not None for cell in self.cells):
                self.keep()
        finally:
            super().teardown()

    def keep(self) -> None:
        notebook = copy.deepcopy(self.nb)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        for number, (cell, ran) in enumerate(zip(code, self.cells, strict=True), start=1):
            cell.outputs, cell.execution_count = ran.test_outputs, number
        if unkeyed := executed.unkeyed(self.nb, _printed(self.kernel, executed.LOADED)):
            raise RuntimeError(f"{self.path.name} depends on {unkeyed}, which tools/executed.py does not see")
        executed.keep(self.path, notebook, self.key)


class Cell(IPyNbCell):
    def setup(self) -> None:
        if self.parent.failed:
            pytest.skip("a cell before it failed")

    def runtest(self) -> None:
        if self.parent.kept is not None:
            self.user_properties.append(("kept", True))
            self.test_outputs = self.parent.kept[self.cell_num]
            if self.options["check"] and not self.compare_outputs(self.test_outputs, self.cell.outputs):
                self.raise_cell_error("Cell outputs differ", "\n".join(self.comparison_traceback))
            return
        try:
            super().runtest()
        except Exception:
            ran = self.test_outputs is not None and all(one.output_type != "error" for one in self.test_outputs)
            self.parent.failed = not ran or self.parent.timed_out
            raise


def _with_seed(source: str) -> str:
    """A cell with the seed that `DEMONSTRATION_SEED` asks for: whatever it is, no page may fail."""
    seed = os.environ.get("DEMONSTRATION_SEED")
    return re.sub(r"^SEED = 0\b", f"SEED = {seed}", source, flags=re.MULTILINE) if seed else source


def _printed(kernel: Any, code: str) -> str:
    """What `code` prints in a kernel."""
    asked, text = kernel.execute_cell_input(code, allow_stdin=False), ""
    kernel.await_reply(asked, timeout=60)
    while True:
        message = kernel.get_message("iopub", timeout=60)
        if message["parent_header"].get("msg_id") == asked:
            content = message["content"]
            if message["msg_type"] == "stream":
                text += content["text"]
            elif content.get("execution_state") == "idle":
                return text


class Progress:
    """A line for every chapter that is through: how long it took, what runs, and how many are left."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.cells = Counter[str]()  # of each chapter, those that are still to come
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.failures = Counter[str]()
        self.running: dict[str, None] = {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self.cells = Counter(_chapter(identity) for identity in ids)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.cells = Counter(_chapter(item.nodeid) for item in session.items)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running[_chapter(nodeid)] = None

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        return ("passed", "", "") if report.when == "call" and report.passed else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        chapter = _chapter(report.nodeid)
        self.seconds[chapter] += report.duration
        self.failures[chapter] += report.failed
        if report.when != "teardown":
            return
        self.cells[chapter] -= 1
        if self.cells[chapter]:
            return
        del self.running[chapter]
        state = "unchanged" if ("kept", True) in report.user_properties else f"{self.seconds[chapter]:.0f} s"
        if self.failures[chapter]:
            state += ", failed"
        left = sum(count > 0 for count in self.cells.values())
        now = f", now {', '.join(Path(name).stem for name in self.running)}" if self.running else ""
        terminal = self.config.pluginmanager.getplugin("terminalreporter")
        terminal.ensure_newline()
        terminal.write_line(f"  {chapter}: {state}   ({left} left{now})")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Generator[None, list[Any], list[Any]]:
    found = yield
    return [Chapter.from_parent(parent, path=file_path) if isinstance(one, IPyNbFile) else one for one in found]


def _chapter(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def pytest_configure(config: pytest.Config) -> None:
    executed.prepare()
    config.option.nbval_current_env = True  # whatever kernel a notebook asks for: this Python
    if (config.option.nbval or config.option.nbval_lax) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(config), "chapters")
