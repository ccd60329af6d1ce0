"""The API pages hold every public name, each with an example that runs as it is read."""

import doctest
import importlib
import inspect
import pkgutil
import random
import re
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import resnest_edu

ROOT = Path(__file__).resolve().parent.parent
INDEX = ROOT / "book" / "appendix" / "api.md"
PAGES = sorted((ROOT / "book" / "appendix" / "api").glob("*.md"))
# Each offers what its ``__all__`` names ...
PACKAGES = ["resnest_edu"] + [f"resnest_edu.{part}" for part in ("data", "training", "transfer", "speed", "figures")]
# ... and each of these all its functions and classes but those that begin with an underscore.
MODULES = [
    "squeeze_excitation",
    "resnext",
    "selective_kernel",
    "split_attention",
    "regularization",
    "bottleneck",
    "layouts",
    "resnest",
    "contenders",
    "checkpoints",
    "folding",
    "results",
    "statistics",
    "notebook",
]


@dataclass(frozen=True)
class Entry:
    """A name on a page: what it stands for, whether the page shows its docstring, or else what the page says of it,
    and the names that it shares this with."""

    name: str
    thing: Any
    automatic: bool
    body: str
    names: list[str]

    @property
    def text(self) -> str:
        return (inspect.getdoc(self.thing) or "") + "\n\n" + self.body if self.automatic else self.body


def entries(page: Path) -> list[Entry]:
    """What the page's directives name, in their order."""
    found = []
    text = page.read_text(encoding="utf-8")
    # A directive: its kind, its first line with what is indented below it.
    directive = re.compile(
        r"^\.\. (currentmodule|(?:auto)?(?:function|class|data)):: *(.*(?:\n(?: .*)?)*)", re.MULTILINE
    )
    module = ""
    for kind, rest in directive.findall(text):
        signatures, _, body = rest.partition("\n\n")
        if kind == "currentmodule":
            module = signatures.strip()
            continue
        lines = [line.strip() for line in signatures.splitlines()]
        names = [line.partition("(")[0] for line in lines if not line.startswith(":")]  # and not an option
        for name in names:
            full = name if name.startswith("resnest_edu.") else f"{module}.{name}"
            parent, _, last = full.rpartition(".")
            thing = getattr(importlib.import_module(parent), last)
            found.append(Entry(full, thing, kind.startswith("auto"), body, names))
    return found


ENTRIES = {entry.name: entry for page in PAGES for entry in entries(page)}


def blocks() -> dict[str, doctest.DocTest]:
    """Every block of code on the pages that shows a session, by its page and its line."""
    found = {}
    parser = doctest.DocTestParser()
    for page in [INDEX, *PAGES]:
        text = page.read_text(encoding="utf-8")
        for block in re.finditer(r"(?:^ *(?:>>>|\.\.\. ).*\n(?:[^\n`]+\n)*\n?)+", text, re.MULTILINE):
            line = text[: block.start()].count("\n")
            name = f"{page.stem}.md:{line + 1}"
            found[name] = parser.get_doctest(block.group(), {}, name, str(page), line)
    return found


def docstrings() -> dict[str, doctest.DocTest]:
    """The examples in the docstrings of the package, by name."""
    finder, found = doctest.DocTestFinder(), {}
    for info in pkgutil.walk_packages(resnest_edu.__path__, "resnest_edu."):
        if not info.name.endswith("__main__"):
            module = importlib.import_module(info.name)
            found |= {test.name: test for test in finder.find(module, globs={}) if test.examples}
    return found


EXAMPLES = docstrings() | blocks()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs_as_it_is_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where it may write files
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - for those that draw from it
    torch.manual_seed(0)
    said: list[str] = []
    test = EXAMPLES[name]
    result = doctest.DocTestRunner().run(test, out=said.append)
    assert result.failed == 0, "".join(said)
    assert result.attempted > 0


def public_names() -> list[str]:
    return [f"{package}.{name}" for package in PACKAGES for name in importlib.import_module(package).__all__]


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_has_its_entry(name: str) -> None:
    assert name in ENTRIES


@pytest.mark.parametrize("module", MODULES)
def test_every_function_and_class_of_a_chapter_has_its_entry(module: str) -> None:
    things = vars(importlib.import_module(f"resnest_edu.{module}"))
    on_pages = {id(entry.thing) for entry in ENTRIES.values()}
    assert [
        name
        for name, thing in things.items()
        if getattr(thing, "__module__", "") == f"resnest_edu.{module}" and not name.startswith("_")
        if id(thing) not in on_pages
    ] == []


def test_no_name_has_two_entries() -> None:
    assert len(ENTRIES) == sum(len(entries(page)) for page in PAGES)


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_has_an_example_of_its_use(name: str) -> None:
    entry = ENTRIES[name]
    sources = [example.source for example in doctest.DocTestParser().get_examples(entry.text)]
    assert sources
    if not inspect.isclass(entry.thing):  # of a class, an object may come from elsewhere
        names = "|".join(other.rpartition(".")[2] for other in entry.names)
        assert re.search(rf"\b({names})\b", "".join(source for source in sources if "import " not in source))


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.automatic])
def test_what_refuses_arguments_says_which_there_are_and_when(name: str) -> None:
    entry = ENTRIES[name]
    function, text = entry.thing, entry.text
    if inspect.isclass(function):
        text += "".join(base.__doc__ or "" for base in function.__mro__ if base.__module__.startswith("resnest_edu"))
        written = "__post_init__" if is_dataclass(function) else "__init__"
        function = vars(function).get(written)
    if function is None or not re.search(r"\b(raise|require_\w+\()", inspect.getsource(inspect.unwrap(function))):
        return
    assert re.search(r"^ *(Raises:|:raises )|Raises \w+Error", text, re.MULTILINE)
    parameters = inspect.signature(function).parameters.values()
    named = [one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    assert [argument for argument in named if not re.search(rf"\b{argument}\b", text + "self")] == []


def test_the_index_lists_every_entry_once_with_a_word_on_it() -> None:
    rows = re.findall(r"^\| \{py:\w+\}`~?([\w.]+)` \| (.+?) *\|$", INDEX.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, _ in rows] == list(dict.fromkeys(name for name, _ in rows))
    assert {name for name, _ in rows} == set(ENTRIES)
    assert [name for name, words in rows if not 8 <= len(words) <= 110] == []
