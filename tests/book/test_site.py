"""Building: the site is published whole or not at all. These tests run Sphinx, on a book of two pages."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tools import site
from tools.check_site import check_files
from tools.notebooks import CellFailure
from tools.site import BuildFailure, build

Write = Callable[..., Path]


def leftovers(root: Path) -> list[str]:
    return [path.name for path in (root / "_build").iterdir() if path.name != "html"]


def test_book_runs_the_notebooks_and_leaves_the_committed_ones_alone(sample: Path) -> None:
    before = (sample / "book" / "chapter.ipynb").read_bytes()
    page = build(sample, run_notebooks=True)
    assert page == sample / "_build" / "html" / "index.html" and page.exists()
    assert ">42\n" in (page.parent / "book" / "chapter.html").read_text(encoding="utf-8")
    assert (page.parent / "_sources" / "book" / "chapter.ipynb").exists()
    assert (sample / "book" / "chapter.ipynb").read_bytes() == before
    assert leftovers(sample) == []
    assert check_files(page.parent) == []


def test_nothing_broken_is_published(sample: Path, write: Write) -> None:
    published = sample / "_build" / "html" / "index.html"
    write("x = 1", "x / 0")
    with pytest.raises(CellFailure, match=r"book/chapter.ipynb: cell \[2\] \(id cell1\) failed"):
        build(sample, run_notebooks=True)
    assert not published.exists()

    published.parent.mkdir(parents=True)
    published.write_text("the site of yesterday", encoding="utf-8")
    with pytest.raises(CellFailure):
        build(sample, run_notebooks=True)
    assert published.read_text(encoding="utf-8") == "the site of yesterday"

    # A warning is an error, named by the page it is in; and a later good build replaces the old site.
    write("x = 1")
    index = sample / "book" / "index.md"
    good = index.read_text(encoding="utf-8")
    index.write_text(good + "\n{doc}`nowhere`\n", encoding="utf-8")
    with pytest.raises(BuildFailure, match=r"^book/index.md:\d+: WARNING: .*nowhere"):
        build(sample)
    assert published.read_text(encoding="utf-8") == "the site of yesterday"
    index.write_text(good, encoding="utf-8")
    build(sample)
    assert "yesterday" not in published.read_text(encoding="utf-8")
    assert leftovers(sample) == []


def test_a_failing_build_exits_non_zero_and_says_so(
    sample: Path, write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("1 / 0")
    monkeypatch.setattr(site, "ROOT", sample)
    assert site.main(["--execute"]) == 1
    said = capsys.readouterr().err
    assert "cell [1] (id cell0) failed" in said and "ZeroDivisionError" in said and "nothing was published" in said


def test_an_unknown_notebook_is_refused(sample: Path) -> None:
    with pytest.raises(BuildFailure, match="is no notebook of this book"):
        build(sample, [sample / "book" / "other.ipynb"], run_notebooks=True)
