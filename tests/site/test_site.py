"""Building: the site is published whole or not at all. These tests run Sphinx, on a book of two pages."""

import errno
import json
import os
import shutil
import tomllib
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from packaging.specifiers import SpecifierSet

from tests.site.conftest import write_sample
from tools import browser, pdf, site
from tools.check_site import check_files
from tools.notebooks import ROOT
from tools.site import BuildFailure, attempt, build, kept


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a small book that was built with an executed notebook in the place of its chapter."""
    root = write_sample(tmp_path_factory.mktemp("book"))
    notebook = nbformat.read(root / "book" / "chapter.ipynb", as_version=4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "42"}, execution_count=1)]
    nbformat.write(notebook, root / "executed.ipynb")
    before = (root / "book" / "chapter.ipynb").read_bytes()
    (root / "_build" / "site" / "staging-ended").mkdir(parents=True)
    page = build(root, executed={"book/chapter.ipynb": root / "executed.ipynb"})
    assert page == root / "_build" / "html" / "index.html"
    assert (root / "book" / "chapter.ipynb").read_bytes() == before
    return root


def read(site: Path, name: str) -> str:
    return (site / "book" / f"{name}.html").read_text(encoding="utf-8")


def test_an_executed_notebook_is_rendered_in_the_place_of_the_stored_one(book: Path) -> None:
    pages = book / "_build" / "html"
    assert ">42\n" in read(pages, "chapter")
    source = json.loads((pages / "_sources" / "book" / "chapter.ipynb").read_text(encoding="utf-8"))
    assert source["cells"][1]["outputs"]
    assert check_files(pages) == []
    assert "_modules" not in read(pages, "index") and not (pages / "_modules").exists()
    assert not list((book / "_build" / "site").glob("staging-*"))


def test_what_changed_is_rendered_and_nothing_broken_is_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_sample(tmp_path)
    published, raw = root / "_build" / "html", root / "_build" / "site" / "stored" / "_build" / "html" / "book"
    index, chapter, other = (root / "book" / name for name in ("index.md", "chapter.ipynb", "other.md"))
    other.write_text("# Other\n\n{eq}`eq-one`\n", encoding="utf-8")
    with (root / "_toc.yml").open("a", encoding="utf-8") as contents:
        contents.write("      - file: book/other\n")
    published.mkdir(parents=True)
    (published / "index.html").write_text("the site of yesterday", encoding="utf-8")

    def pages(folder: Path) -> dict[str, bytes]:
        return {page.relative_to(folder).as_posix(): page.read_bytes() for page in folder.rglob("*.html")}

    def written() -> list[int]:
        return [(raw / f"{name}.html").stat().st_mtime_ns for name in ("index", "chapter", "other")]

    # What is built replaces what was published; a second build writes nothing that is written already.
    build(root)
    first, times = pages(published), written()
    assert b"yesterday" not in first["index.html"]
    build(root, root / "_build" / "check")
    assert pages(root / "_build" / "check") == first and written() == times

    # A docstring is read again; a title shows in the sidebar of a page that did not change.
    (root / "sample_module.py").write_text('"""Second words."""\n', encoding="utf-8")
    chapter.write_text(chapter.read_text(encoding="utf-8").replace("# A chapter", "# Another one"), encoding="utf-8")
    build(root)
    assert "Second words" in read(published, "index") and "Another one" in read(published, "other")

    # A warning is an error, on a page too that did not change but refers to what is gone, and at a second call too.
    text = chapter.read_text(encoding="utf-8")
    chapter.write_text(text.replace("eq-one", "eq-two"), encoding="utf-8")
    for _ in range(2):
        with pytest.raises(BuildFailure, match=r"^book/other.md:\d+: WARNING: .*eq-one"):
            build(root)
    chapter.write_text(text, encoding="utf-8")
    index.write_text(index.read_text(encoding="utf-8") + "\n$\\nosuchcommand$\n", encoding="utf-8")
    assert attempt(root, published) == 1
    said = capsys.readouterr().err
    assert "book/index.html: Undefined control sequence \\nosuchcommand: " in said and "as it was" in said
    assert "Second words" in read(published, "index")


def test_an_unknown_notebook_is_refused(book: Path) -> None:
    with pytest.raises(BuildFailure, match=r"book/other.ipynb: no notebook of this book"):
        build(book, executed={"book/other.ipynb": book / "executed.ipynb"})


def test_a_full_disk_is_told_in_one_line(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = read(book / "_build" / "html", "index")
    monkeypatch.setattr(site, "stage", full)
    with pytest.raises(BuildFailure, match=r"^no space left on the disk of .*$"):
        build(book)
    assert read(book / "_build" / "html", "index") == before


def test_what_is_kept_goes_with_another_key_and_survives_a_failure(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    page = folder / "page"

    def fail(key: str, error: type[BaseException] = ValueError) -> None:
        with pytest.raises(error), kept(folder, key):
            page.write_text("broken")
            raise error

    fail("a")
    with kept(folder, "a"):
        assert not page.exists()
        page.write_text("good")
    fail("a")
    fail("a", KeyboardInterrupt)
    with kept(folder, "a"):
        assert page.read_text() == "good"
    with kept(folder, "b"):
        assert not page.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]

    # A build that was ended in the middle had no time to clear up.
    shutil.copytree(folder, tmp_path / "kept-before")
    page.write_text("half")
    with kept(folder, "b"):
        assert not page.exists()


def buttons(page: Path) -> list[str]:
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    return [str(link["href"]) for link in soup.select(".article-header-buttons a[href]")]


def test_buttons_for_the_repository_appear_with_its_address_alone(book: Path, tmp_path: Path) -> None:
    pages = book / "_build" / "html" / "book"
    # The one button that needs no address gives the page itself.
    assert buttons(pages / "chapter.html") == ["../_sources/book/chapter.ipynb"]
    assert buttons(pages / "index.html") == ["../_sources/book/index.md"]
    assert (pages / buttons(pages / "chapter.html")[0]).resolve().is_file()

    root = write_sample(tmp_path)
    settings = (root / "_config.yml").read_text(encoding="utf-8")
    with_address = settings.replace('  url: ""', "  url: https://github.com/owner/name")
    (root / "_config.yml").write_text(with_address, encoding="utf-8")
    build(root)
    links = "\n".join(buttons(root / "_build" / "html" / "book" / "chapter.html"))
    for link in (
        "https://github.com/owner/name",
        "https://github.com/owner/name/edit/main/book/chapter.ipynb",
        "https://github.com/owner/name/issues/new",
        "https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree/book/chapter.ipynb",
    ):
        assert link in links, link
    # Where a notebook is opened, its first cell must find the package: Colab has not, Binder installs this.
    assert "colab" not in links
    assert any(line.startswith("-e .") for line in (ROOT / "requirements.txt").read_text().splitlines())
    python = (ROOT / "runtime.txt").read_text().strip().removeprefix("python-")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(project["requires-python"]).contains(python)
    assert check_files(root / "_build" / "html") == []


@pytest.mark.skipif(browser.find() is None, reason="no Chromium")
def test_the_pdf_holds_every_page_and_its_bookmarks(book: Path, tmp_path: Path) -> None:
    pages = shutil.copytree(book / "_build" / "html", tmp_path / "html")
    target = tmp_path / "book.pdf"
    pdf.print_book(pages, target, browser.find() or "")
    content = target.read_bytes()
    assert content.startswith(b"%PDF-") and b"/StructTreeRoot" in content
    for heading in ("Sample", "A chapter"):
        assert f"/Title ({heading})".encode() in content or heading.encode("utf-16-be") in content, heading
    assert not (pages / "whole-book.html").exists()


def test_links_between_chapters_stay_within_the_merged_page(book: Path) -> None:
    pages = book / "_build" / "html"
    whole = pdf.merged(pages, pdf.chapters(pages))
    anchors = {str(tag["id"]) for tag in whole.find_all(id=True)}
    links = [str(link["href"]) for link in whole.select("article a[href]") if "//" not in str(link["href"])]
    assert "#book-chapter" in links and "x = 6 * 7" in whole.get_text()
    assert all(link.removeprefix("#") in anchors for link in links)
