"""The site checks find what is planted, and nothing in a page that is sound."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import browser, check_site, weight
from tools.check_site import check_files

Plant = Callable[[str], Path]
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>t</title></head><body>
<div class="onlyprint"><h1>T</h1></div>
<article><h1 id="t">T</h1>
<p><a href="#t">up</a> <a href="https://example.org/">out</a> <a href="other.html#there">other</a></p>
<figure id="f"><img src="a.svg" alt="Two bars, the left one taller">
<figcaption><span class="caption-number">Fig. 1 </span>Two bars.</figcaption></figure>
<table><tr><th>a</th></tr><tr><td>1</td></tr></table>
<h2>Second</h2><h3>Third</h3>
<pre>is it [?] or ???</pre>
{planted}
</article></body></html>
"""
PIXEL = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"></svg>'


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """A site of two pages, with `planted` in the first."""

    def plant(planted: str) -> Path:
        (tmp_path / "a.svg").write_text(PIXEL)
        (tmp_path / "other.html").write_text(PAGE.format(planted='<p id="there">x</p>'))
        (tmp_path / "index.html").write_text(PAGE.format(planted=planted))
        return tmp_path

    return plant


def test_a_sound_site_has_no_faults(plant: Plant) -> None:
    assert check_files(plant("")) == []


@pytest.mark.parametrize(
    ("planted", "fault"),
    [
        ('<a href="missing.html">x</a>', "broken link: missing.html"),
        ('<a href="other.html#nowhere">x</a>', "broken anchor: other.html#nowhere"),
        ('<a href="#nowhere">x</a>', "broken anchor: #nowhere"),
        ('<a href="../../elsewhere.html">x</a>', "link out of the site"),
        ('<script src="https://example.org/x.js"></script>', "fetches from elsewhere"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "fetches from elsewhere"),
        ('<img class="inline" src="a.svg">', "image without alt text"),
        ('<img class="inline" src="a.svg" alt=" ">', "image without alt text"),
        ('<img class="inline" src="a.svg" alt="_images/abc123.png">', "alt text is a file name"),
        ('<img class="inline" src="gone.svg" alt="A bar">', "broken link: gone.svg"),
        ('<img src="a.svg" alt="A bar">', "image outside a figure: A bar"),
        ('<figure id="g">x</figure>', "figure without number and caption: g"),
        ("<table><tr><td>alone</td></tr></table>", "table without header cells: alone"),
        ("<h5>Deep</h5>", "heading level 5 after 3: Deep"),
        ("<h1>Second</h1>", "2 first headings"),
        ("<p>as shown in [?]</p>", "unresolved: [?]"),
        ("<p>see ???</p>", "unresolved: ???"),
        ('<div class="cell_output"><pre>Traceback (most recent call last):</pre></div>', "shows a traceback"),
    ],
)
def test_what_is_planted_is_found(plant: Plant, planted: str, fault: str) -> None:
    found = check_files(plant(planted))
    assert len(found) == 1
    assert found[0].startswith("index.html: ") and fault in found[0]


def test_a_style_sheet_from_elsewhere_is_found(plant: Plant) -> None:
    site = plant("")
    (site / "x.css").write_text('@import "https://example.org/font.css"; p { color: red }')
    assert "x.css: fetches from elsewhere" in check_files(site)[0]


def test_an_empty_site_is_a_fault(tmp_path: Path) -> None:
    assert "no pages" in check_files(tmp_path)[0]


def test_without_a_browser_only_ci_fails(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = str(plant(""))
    for executable, reason in ((None, "none is installed"), (shutil.which("false"), "/false does not start: ")):
        monkeypatch.setattr(browser, "find", lambda executable=executable: executable)
        monkeypatch.delenv("CI", raising=False)
        assert check_site.main([site]) == 0
        said = capsys.readouterr().out
        assert "No Chromium (" in said and reason in said and "2 pages were not opened" in said
        monkeypatch.setenv("CI", "1")
        assert check_site.main([site]) == 1


def test_the_stub_that_leads_to_a_snap_is_no_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("chromium-browser", '#!/bin/sh\nexec /snap/bin/chromium "$@"\n'), ("chrome", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.find() == str(tmp_path / "chrome")


def test_a_page_that_was_clean_is_opened_again_when_it_or_what_it_loads_has_changed(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = plant("")
    index, other, sheet = site / "index.html", site / "other.html", site / "a.css"
    monkeypatch.setattr(browser, "CLEAN", tmp_path / "clean")

    def opened(full: bool = False) -> list[str]:
        return [page.name for page in browser.to_open(site, [index, other], full)[0]]

    assert opened() == ["index.html", "other.html"]
    sheet.write_text("p { color: red }")
    digests, _ = browser.to_open(site, [index, other])
    browser.CLEAN.write_text("\n".join(digests.values()))
    assert opened() == [] and opened(full=True) == ["index.html", "other.html"]
    index.write_text(index.read_text() + " ")
    assert opened() == ["index.html"]
    sheet.write_text("p { color: blue }")
    assert opened() == ["index.html", "other.html"]


def test_of_pages_that_look_alike_two_are_opened_but_in_a_full_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "CLEAN", tmp_path / "clean")
    alike = [tmp_path / browser.ALIKE / f"{i}.html" for i in range(4)]
    alike[0].parent.mkdir(parents=True)
    for page in alike:
        page.touch()
    opened, told = browser.to_open(tmp_path, alike)
    assert list(opened) == alike[:2] and told == "2 of 4 pages opened; 2 of the package's left to --all"
    assert list(browser.to_open(tmp_path, alike, full=True)[0]) == alike


@pytest.mark.skipif(browser.find() is None, reason="no Chromium")
def test_what_only_a_browser_sees_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(browser, "PATIENCE", 2000)
    monkeypatch.setattr(browser, "CLEAN", tmp_path / "clean")
    planted = """
      <script>
        const dark = matchMedia('(prefers-color-scheme: dark)');
        const follow = () => { document.documentElement.dataset.theme = dark.matches ? 'dark' : 'light' };
        dark.onchange = follow; follow();
        fetch('https://example.org/beacon').catch(() => 0);
        setTimeout(() => { throw Error('boom') });
      </script>
      <span class="math">\\(x\\)</span> <p>and $$y$$</p> <p style="height: 9000px"></p>
      <section style="content-visibility: auto"><div style="width: 350px">wide</div></section>"""
    site = plant(planted)
    search = site / "search.html"
    search.write_text(PAGE.format(planted=""))
    found = browser.check_pages(browser.find() or "", site, [site / "index.html", search], "attention")
    text = "\n".join(found)
    for fault in (
        "asks another host: https://example.org/beacon",
        "script error: boom",
        "formula not set",
        "raw formula: and $$y$$",
        "(320 px, dark): wider than the window by",
    ):
        assert fault in text, fault
    assert "(390 px, light): wider" not in text and "(1280 px, light): wider" not in text
    assert any(fault.startswith("search.html: the search") for fault in found)
    assert not browser.CLEAN.read_text()


@pytest.mark.skipif(browser.find() is None, reason="no Chromium")
def test_axe_the_scales_and_the_tab_key_find_their_faults(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(browser, "PATIENCE", 2000)
    monkeypatch.setattr(browser, "CLEAN", tmp_path / "clean")
    monkeypatch.setattr(browser, "SAMPLES", ("index.html",))
    monkeypatch.setattr(weight, "LIMIT", 10)
    planted = """
      <p style="color: #aaa; background: #fff">pale</p>
      <input type="text">
      <button style="outline: none">unmarked</button>
      <button style="font-size: 4px; padding: 0">a</button><button style="font-size: 4px; padding: 0">b</button>
      <button id="trap" onkeydown="event.preventDefault()">trap</button>"""
    site = plant(planted)
    text = "\n".join(browser.check_pages(browser.find() or "", site, [site / "index.html"], "attention"))
    for fault in (
        "(1280 px, light): axe color-contrast",
        "(1280 px, dark): axe color-contrast",
        "(320 px, light): axe target-size",
        "(1280 px, light): axe label",
        "index.html weighs",
        "keyboard: focus cannot be seen at <button> unmarked",
        "keyboard: Tab does not leave <button> trap",
        "keyboard: Tab does not reach the skip link",
    ):
        assert fault in text, fault
    assert "Tab does not reach the content" not in text and "(320 px, light): axe label" not in text
    whole = browser.check_pages(browser.find() or "", site, [site / "index.html"], "attention", full=True)
    assert any("(320 px, light): axe label" in fault for fault in whole)


def test_what_is_sent_compressed_weighs_less(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_bytes(b"a" * 10_000)
    (tmp_path / "b.png").write_bytes(b"a" * 10_000)
    asked = [
        "http://127.0.0.1:1/a.css?v=1",
        "http://127.0.0.1:1/a.css?v=1",
        "http://127.0.0.1:1/b.png",
        "http://x/none",
    ]
    assert 10_000 < weight.weigh(tmp_path, asked) < 10_100
