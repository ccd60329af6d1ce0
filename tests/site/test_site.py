"""Building: the site is published whole or not at all. These tests run Sphinx, on a book of two pages."""

import io
import os
import re
import shutil
import sys
import tomllib
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from bs4 import BeautifulSoup
from packaging.specifiers import SpecifierSet

from tests.site.conftest import write_sample
from tools import browser, pdf, site
from tools.check_site import check_files
from tools.notebooks import ROOT
from tools.site import attempt, build


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small book with an address, built with an executed notebook in the place of its chapter."""
    root = write_sample(tmp_path_factory.mktemp("book"))
    settings = root / "_config.yml"
    settings.write_text(settings.read_text("utf-8").replace('url: ""', "url: https://github.com/owner/name"), "utf-8")
    stored = root / "book" / "chapter.ipynb"
    before = stored.read_bytes()
    notebook = nbformat.read(stored, as_version=4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "42"}, execution_count=1)]
    nbformat.write(notebook, root / "executed.ipynb")
    page = build(root, executed={"book/chapter.ipynb": root / "executed.ipynb"})
    assert page == root / "_build" / "html" / "index.html" and 'url=book/index.html"' in page.read_text("utf-8")
    assert stored.read_bytes() == before
    return root / "_build" / "html"


def buttons(page: Path) -> list[str]:
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    return [str(link["href"]) for link in soup.select(".article-header-buttons a[href]")]


def test_an_executed_notebook_is_rendered_with_buttons_for_the_repository(book: Path) -> None:
    assert ">42\n" in (book / "book" / "chapter.html").read_text(encoding="utf-8")
    assert nbformat.read(book / "_sources" / "book" / "chapter.ipynb", as_version=4).cells[1].outputs
    assert check_files(book) == []
    # Every icon that the theme names is drawn, and what the theme draws its own with is not there.
    shown = set(re.findall(r"\bfa-[a-z-]+", (book / "book" / "chapter.html").read_text(encoding="utf-8")))
    drawn = (book / "_static" / "icons.css").read_text(encoding="utf-8")
    assert [name for name in shown - {"fa-solid", "fa-lg"} if f".{name}" not in drawn] == []
    assert not list(book.rglob("*fontawesome*"))
    assert set(buttons(book / "book" / "chapter.html")) == {
        "../_sources/book/chapter.ipynb",
        "https://github.com/owner/name",
        "https://github.com/owner/name/edit/main/book/chapter.ipynb",
        "https://github.com/owner/name/issues/new?title=Issue%20on%20page%20%2Fbook/chapter.html&body="
        "Your%20issue%20content%20here.",
        "https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree/book/chapter.ipynb",
    }
    # Where a notebook is opened, its first cell must find the package: Colab has not, Binder installs this.
    assert any(line.startswith("-e .") for line in (ROOT / "requirements.txt").read_text().splitlines())
    python = (ROOT / "runtime.txt").read_text().strip().removeprefix("python-")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(project["requires-python"]).contains(python)


def run_here(command: list[str], *, env: dict[str, str], cwd: Path, **_: object) -> SimpleNamespace:
    """What `render` starts, in this process, which loads Sphinx once; that of the fixture `book` is one of its own."""
    sys.modules.pop("sample_module", None)
    out, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", command[2:])
        patch.setattr(sys, "path", [*env["PYTHONPATH"].split(os.pathsep), *sys.path])
        try:
            exec(command[2], {})
        except SystemExit as end:
            status = end.code
        except Exception:
            traceback.print_exc()
            status = 1
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=errors.getvalue())


@pytest.mark.filterwarnings("ignore")  # of extensions of Sphinx
def test_what_changed_is_rendered_and_nothing_broken_is_published(
    sample: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "subprocess", SimpleNamespace(run=run_here))
    published, raw = sample / "_build" / "html", sample / "_build" / "site" / "stored" / "_build" / "html" / "book"
    index, chapter, other = (sample / "book" / name for name in ("index.md", "chapter.ipynb", "other.md"))
    other.write_text("# Other\n\n{eq}`eq-one`\n", encoding="utf-8")
    with (sample / "_toc.yml").open("a", encoding="utf-8") as contents:
        contents.write("      - file: book/other\n")

    def pages(folder: Path) -> dict[str, bytes]:
        return {page.relative_to(folder).as_posix(): page.read_bytes() for page in folder.rglob("*.html")}

    def written() -> list[int]:
        return [(raw / f"{name}.html").stat().st_mtime_ns for name in ("index", "chapter", "other")]

    def edit(file: Path, old: str, new: str) -> None:
        file.write_text(file.read_text(encoding="utf-8").replace(old, new, 1 if not old else -1), encoding="utf-8")

    # What is built replaces what was published; a second build writes nothing that is written already.
    published.mkdir(parents=True)
    (published / "index.html").write_text("the site of yesterday", encoding="utf-8")
    build(sample)
    first, times = pages(published), written()
    assert b"yesterday" not in first["index.html"]
    assert buttons(published / "book" / "chapter.html") == ["../_sources/book/chapter.ipynb"]  # no address
    build(sample, sample / "_build" / "check")
    assert pages(sample / "_build" / "check") == first and written() == times

    # A docstring is read again; a title shows in the sidebar of a page that did not change.
    edit(sample / "sample_module.py", "First", "Second")
    edit(chapter, "# A chapter", "# Another one")
    build(sample)
    assert b"Second words" in pages(published)["book/index.html"]
    assert b"Another one" in pages(published)["book/other.html"]

    # A script, or how the search ranks, arrives though no page has changed.
    for source, name in (
        (sample / "book" / "_extra" / "explorables" / "explorable.js", "explorables/explorable.js"),
        (sample / "book" / "search_scorer.js", "_static/language_data.js"),
    ):
        edit(source, "", "/* now */")
        build(sample)
        assert "/* now */" in (published / name).read_text(encoding="utf-8"), name

    # A warning is an error, on a page too that did not change but refers to what is gone, and at a second call too.
    edit(chapter, "eq-one", "eq-two")
    for _ in range(2):
        assert attempt(sample, published) == 1
        said = capsys.readouterr().err
        assert "\nbook/other.md:3: WARNING: " in f"\n{said}" and "eq-one" in said and "as it was" in said
    edit(chapter, "eq-two", "eq-one")
    edit(index, "# Sample", "# Sample\n\n$\\nosuchcommand$")
    assert attempt(sample, published) == 1
    assert "book/index.html: Undefined control sequence \\nosuchcommand: " in capsys.readouterr().err
    assert b"Second words" in pages(published)["book/index.html"]


def test_a_full_disk_is_told_in_one_line(
    book: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(site, "stage", full)
    assert attempt(book.parents[1], book) == 1 and (book / "index.html").exists()
    assert capsys.readouterr().err.splitlines()[0] == "[Errno 28] No space left on device"


@pytest.mark.skipif(browser.find() is None, reason="no Chromium")
def test_the_pdf_holds_every_page_its_bookmarks_and_links(book: Path, tmp_path: Path) -> None:
    whole = pdf.merged(book, pdf.chapters(book))
    anchors = {str(tag["id"]) for tag in whole.find_all(id=True)}
    links = [str(link["href"]) for link in whole.select("article a[href]") if "//" not in str(link["href"])]
    assert "#book-chapter" in links and "x = 6 * 7" in whole.get_text()
    assert all(link.removeprefix("#") in anchors for link in links)
    sheets = {sheet["href"].split("?")[0] for sheet in whole.select("link")}
    assert {"_static/book.css", "_static/formulas.css"} <= sheets

    pages, target = shutil.copytree(book, tmp_path / "html"), tmp_path / "book.pdf"
    chapter = pages / "book" / "chapter.html"
    folded = '<details class="hide above-input">plumbing</details><details>answer</details></article>'
    chapter.write_text(chapter.read_text(encoding="utf-8").replace("</article>", folded), encoding="utf-8")
    words = pdf.merged(pages, pdf.chapters(pages)).get_text()
    assert "answer" in words and "plumbing" not in words
    pdf.print_book(pages, target, browser.find() or "")
    content = target.read_bytes()
    assert content.startswith(b"%PDF-") and b"/StructTreeRoot" in content
    for heading in ("Sample", "A chapter"):
        assert f"/Title ({heading})".encode() in content or heading.encode("utf-16-be") in content, heading
    assert not (pages / "whole-book.html").exists()
