"""Building: the site is published whole or not at all. These tests run Sphinx, on a book of two pages."""

from collections.abc import Callable
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from tools import browser, pdf, site
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
    index.write_text(good + "\n$\\nosuchcommand$\n", encoding="utf-8")
    with pytest.raises(BuildFailure, match=r"^book/index.html: Undefined control sequence \\nosuchcommand: "):
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


def buttons(page: Path) -> list[str]:
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    return [str(link["href"]) for link in soup.select(".article-header-buttons a[href]")]


def test_buttons_for_the_repository_appear_with_its_address_alone(sample: Path) -> None:
    build(sample)
    pages = sample / "_build" / "html" / "book"
    # The one button that needs no address gives the page itself.
    assert buttons(pages / "chapter.html") == ["../_sources/book/chapter.ipynb"]
    assert buttons(pages / "index.html") == ["../_sources/book/index.md"]
    assert (pages / buttons(pages / "chapter.html")[0]).resolve().is_file()

    settings = (sample / "_config.yml").read_text(encoding="utf-8")
    with_address = settings.replace('  url: ""', "  url: https://github.com/owner/name")
    (sample / "_config.yml").write_text(with_address, encoding="utf-8")
    build(sample)
    links = "\n".join(buttons(pages / "chapter.html"))
    for link in (
        "https://github.com/owner/name",
        "https://github.com/owner/name/edit/main/book/chapter.ipynb",
        "https://github.com/owner/name/issues/new",
        "https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree/book/chapter.ipynb",
        "https://colab.research.google.com/github/owner/name/blob/main/book/chapter.ipynb",
    ):
        assert link in links, link
    assert check_files(sample / "_build" / "html") == []


@pytest.mark.skipif(browser.find() is None, reason="no Chromium")
def test_the_pdf_holds_every_page_and_its_bookmarks(sample: Path) -> None:
    build(sample)
    target = sample / "book.pdf"
    pdf.print_book(sample / "_build" / "html", target, browser.find() or "")
    content = target.read_bytes()
    assert content.startswith(b"%PDF-") and b"/StructTreeRoot" in content
    for heading in ("Sample", "A chapter"):
        assert f"/Title ({heading})".encode() in content or heading.encode("utf-16-be") in content, heading
    assert not (sample / "_build" / "html" / "whole-book.html").exists()


def test_links_between_chapters_stay_within_the_merged_page(sample: Path) -> None:
    build(sample)
    pages = sample / "_build" / "html"
    whole = pdf.merged(pages, pdf.chapters(pages))
    anchors = {str(tag["id"]) for tag in whole.find_all(id=True)}
    links = [str(link["href"]) for link in whole.select("article a[href]") if "//" not in str(link["href"])]
    assert "#book-chapter" in links and "x = 6 * 7" in whole.get_text()
    assert all(link.removeprefix("#") in anchors for link in links)
