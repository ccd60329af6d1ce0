"""The API pages hold every public name, each with an example that runs as it is read."""

import doctest
import importlib
import inspect
import random
import re
from dataclasses import dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
INDEX = ROOT / "book" / "appendix" / "api.md"
PAGES = sorted((ROOT / "book" / "appendix" / "api").glob("*.md"))
# Each offers what its ``__all__`` names ...
PACKAGES = [f"resnest_edu{part}" for part in ("", ".data", ".training")]
PACKAGES += [f"resnest_edu.{part}" for part in ("transfer", "speed", "book.figures")]
# ... and each of these all its functions and classes but those that begin with an underscore.
MODULES = [
    "blocks.squeeze_excitation",
    "blocks.resnext",
    "blocks.selective_kernel",
    "split_attention.hyperparameters",
    "split_attention.cardinality_major",
    "split_attention.radix_major",
    "split_attention.recorded_attention",
    "network.regularization",
    "network.bottleneck",
    "network.layouts",
    "network.resnest",
    "network.weights",
    "network.batch_norm_folding",
    "network.costs",
    "provenance",
    "book.rivals",
    "book.records",
    "book.intervals",
    "book.listings",
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


@cache
def all_entries() -> dict[str, Entry]:
    return {entry.name: entry for page in PAGES for entry in entries(page)}


def examples(path: Path) -> list[doctest.DocTest]:
    """The examples of a module, a docstring each, or of a page, a block of code each."""
    if path.suffix == ".py":
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found = doctest.DocTestFinder().find(importlib.import_module(name), globs={})
        return [test for test in found if test.examples]
    text, parser, found = path.read_text(encoding="utf-8"), doctest.DocTestParser(), []
    for block in re.finditer(r"(?:^ *(?:>>>|\.\.\. ).*\n(?:[^\n`]+\n)*\n?)+", text, re.MULTILINE):
        line = text[: block.start()].count("\n")
        found.append(parser.get_doctest(block.group(), {}, f"{path.stem}.md:{line + 1}", str(path), line))
    return found


# Known without an import, so that to collect this file takes no time.
WITH_EXAMPLES = [
    path
    for path in [*sorted((ROOT / "resnest_edu").rglob("*.py")), INDEX, *PAGES]
    if path.name != "__main__.py" and ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_examples_run_as_they_are_read(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    for number, test in enumerate(examples(path)):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))  # where it may write files
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - for those that draw from it
        torch.manual_seed(0)
        doctest.DocTestRunner().run(test, out=said.append)
    assert not said, "".join(said)


def public_names() -> list[str]:
    return [f"{package}.{name}" for package in PACKAGES for name in importlib.import_module(package).__all__]


def test_every_public_name_has_its_entry() -> None:
    assert [name for name in public_names() if name not in all_entries()] == []


def test_every_function_and_class_of_a_chapter_has_its_entry() -> None:
    on_pages = {id(entry.thing) for entry in all_entries().values()}
    chapters = [f"resnest_edu.{module}" for module in MODULES]
    assert [
        f"{chapter}.{name}"
        for chapter in chapters
        for name, thing in vars(importlib.import_module(chapter)).items()
        if getattr(thing, "__module__", "") == chapter and not name.startswith("_")
        if id(thing) not in on_pages
    ] == []


def test_no_name_has_two_entries() -> None:
    assert len(all_entries()) == sum(len(entries(page)) for page in PAGES)


def shows_its_use(entry: Entry) -> bool:
    sources = [example.source for example in doctest.DocTestParser().get_examples(entry.text)]
    if inspect.isclass(entry.thing):  # an object of it may come from elsewhere
        return bool(sources)
    names = "|".join(other.rpartition(".")[2] for other in entry.names)
    return bool(re.search(rf"\b({names})\b", "".join(source for source in sources if "import " not in source)))


def test_every_entry_has_an_example_of_its_use() -> None:
    assert [name for name, entry in all_entries().items() if not shows_its_use(entry)] == []


def left_unsaid(entry: Entry) -> list[str]:
    """What the docstring of something that refuses arguments does not name: that it raises, or an argument."""
    function, text = entry.thing, entry.text
    if inspect.isclass(function):
        text += "".join(base.__doc__ or "" for base in function.__mro__ if base.__module__.startswith("resnest_edu"))
        written = "__post_init__" if is_dataclass(function) else "__init__"
        function = vars(function).get(written)
    if function is None or not re.search(r"\b(raise|require_\w+\()", inspect.getsource(inspect.unwrap(function))):
        return []
    raises = re.search(r"^ *(Raises:|:raises )|Raises \w+Error", text, re.MULTILINE)
    parameters = inspect.signature(function).parameters.values()
    named = [one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    return ["Raises"] * (not raises) + [name for name in named if not re.search(rf"\b{name}\b", text + "self")]


def test_what_refuses_arguments_says_which_there_are_and_when() -> None:
    unsaid = {name: left_unsaid(entry) for name, entry in all_entries().items() if entry.automatic}
    assert {name: missing for name, missing in unsaid.items() if missing} == {}


def test_the_index_lists_every_entry_once_with_a_word_on_it() -> None:
    rows = re.findall(r"^\| \{py:\w+\}`~?([\w.]+)` \| (.+?) *\|$", INDEX.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, _ in rows] == list(dict.fromkeys(name for name, _ in rows))
    assert {name for name, _ in rows} == set(all_entries())
    assert [name for name, words in rows if not 8 <= len(words) <= 110] == []
