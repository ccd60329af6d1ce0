"""The reference pages hold every public name, and what stands in docstrings and on pages as an example runs."""

import doctest
import importlib
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "book" / "appendix" / "api.md", *sorted((ROOT / "book" / "appendix" / "api").glob("*.md"))]
# Each offers what its ``__all__`` names.
PACKAGES = [
    f"resnest_edu{part}"
    for part in ("", ".split_attention", ".data", ".speed", ".training", ".transfer", ".book.figures")
]


def on_pages() -> set[str]:
    """What the directives of the pages name, those of a whole module by its ``__all__``."""
    found = set()
    directive = re.compile(r"^\.\. (currentmodule|auto\w+|data):: *(\S+)\n((?: +\S.*\n)*)", re.MULTILINE)
    for page in PAGES:
        module = ""
        for kind, name, options in directive.findall(page.read_text(encoding="utf-8")):
            if kind in ("currentmodule", "automodule"):
                module = name
            if kind == "automodule":
                excluded = options.partition(":exclude-members:")[2].replace(",", " ").split()
                names = vars(importlib.import_module(name)).get("__all__", [])
                # What is no function or class has no docstring of its own, and an entry of its own.
                found |= {f"{module}.{one}" for one in names if one not in excluded and not is_data(module, one)}
            else:
                found.add(f"{module}.{name}")
    return found


def is_data(module: str, name: str) -> bool:
    return not callable(getattr(importlib.import_module(module), name)) or name == "Target"


def test_every_public_name_is_on_a_page() -> None:
    public = {f"{package}.{name}" for package in PACKAGES for name in importlib.import_module(package).__all__}
    # Split attention is on its page by the shorter name.
    here = on_pages() | {name.replace("resnest_edu.", "resnest_edu.split_attention.") for name in on_pages()}
    assert sorted(public - here) == []


def examples(path: Path) -> list[doctest.DocTest]:
    """The examples of a module, a docstring each, or of a page, a block of code each."""
    if path.suffix == ".py":
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found = doctest.DocTestFinder().find(importlib.import_module(name), globs={})
        return [test for test in found if test.examples]
    text, parser = path.read_text(encoding="utf-8"), doctest.DocTestParser()
    blocks = re.finditer(r"(?:^ *(?:>>>|\.\.\. ).*\n(?:[^\n`]+\n)*\n?)+", text, re.MULTILINE)
    return [parser.get_doctest(block.group(), {}, path.stem, str(path), 0) for block in blocks]


# Known without an import, so that to collect this file takes no time.
WITH_EXAMPLES = [
    path
    for path in [*sorted((ROOT / "resnest_edu").rglob("*.py")), *PAGES]
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
