"""The site checks find what is planted, and nothing in a page that is sound."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.site import keyboard, open_page, weight
from tools import browser as chromium
from tools.browser import served
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


PLANTED = {
    '<a href="missing.html">x</a>': "broken link: missing.html",
    '<a href="other.html#nowhere">x</a>': "broken anchor: other.html#nowhere",
    '<a href="#nowhere">x</a>': "broken anchor: #nowhere",
    '<a href="../../elsewhere.html">x</a>': "link out of the site",
    '<script src="https://example.org/x.js"></script>': "fetches from elsewhere",
    '<link rel="stylesheet" href="//example.org/x.css">': "fetches from elsewhere",
    '<img class="inline" src="a.svg">': "image without alt text",
    '<img class="inline" src="a.svg" alt=" ">': "image without alt text",
    '<img class="inline" src="a.svg" alt="_images/abc123.png">': "alt text is a file name",
    '<img class="inline" src="gone.svg" alt="A bar">': "broken link: gone.svg",
    '<img src="a.svg" alt="A bar">': "image outside a figure or a card: A bar",
    '<figure id="g">x</figure>': "figure without number and caption: g",
    "<table><tr><td>alone</td></tr></table>": "table without header cells: alone",
    "<h5>Deep</h5>": "heading level 5 after 3: Deep",
    "<h1>Second</h1>": "2 first headings",
    "<p>as shown in [?]</p>": "unresolved: [?]",
    "<p>see ???</p>": "unresolved: ???",
    '<p><span class="problematic">|raw|</span></p>': "unresolved: |raw|",
    '<div class="cell_output"><pre>Traceback (most recent call last):</pre></div>': "shows a traceback",
}


def test_what_is_planted_is_found_and_nothing_else(plant: Plant, tmp_path: Path) -> None:
    assert "no pages" in check_files(tmp_path)[0]
    assert check_files(plant("")) == []
    for planted, fault in PLANTED.items():
        (found,) = check_files(plant(planted))
        assert found.startswith("index.html: ") and fault in found, planted
    (plant("") / "x.css").write_text('@import "https://example.org/font.css"; p { color: red }')
    assert "x.css: fetches from elsewhere" in check_files(tmp_path)[0]


def test_the_stub_that_leads_to_a_snap_is_no_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("chromium-browser", '#!/bin/sh\nexec /snap/bin/chromium "$@"\n'), ("chrome", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert chromium.find() == str(tmp_path / "chrome")


def faults(opened: Browser, site: Path, full: bool = False) -> str:
    with served(site) as address:
        return "\n".join(open_page.faults(opened, address, site, "index.html", full))


def test_what_only_a_browser_sees_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch, browser: Browser) -> None:
    monkeypatch.setattr(open_page, "PATIENCE", 2000)
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
    text = faults(browser, site)
    for fault in (
        "asks another host: https://example.org/beacon",
        "script error: boom",
        "formula not set",
        "raw formula: and $$y$$",
        "(320 px, dark): wider than the window by",
    ):
        assert fault in text, fault
    assert "(390 px, light): wider" not in text and "(1280 px, light): wider" not in text
    found = list(open_page.of_the_search(browser, (site / "other.html").as_uri(), "attention"))
    assert "the search for 'attention' finds nothing" in found[0]


def test_axe_the_scales_and_the_tab_key_find_their_faults(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, browser: Browser
) -> None:
    monkeypatch.setattr(open_page, "PATIENCE", 2000)
    monkeypatch.setattr(weight, "LIMIT", 10)
    planted = """
      <p style="color: #aaa; background: #fff">pale</p>
      <input type="text">
      <button style="outline: none">unmarked</button>
      <button style="font-size: 4px; padding: 0">a</button><button style="font-size: 4px; padding: 0">b</button>
      <button id="trap" onkeydown="event.preventDefault()">trap</button>"""
    site = plant(planted)
    page = browser.new_page()
    page.goto((site / "index.html").as_uri())
    text = "\n".join([faults(browser, site), *keyboard.walk(page)])
    page.close()
    for fault in (
        "(1280 px, light): axe color-contrast",
        "(1280 px, dark): axe color-contrast",
        "(320 px, light): axe target-size",
        "(1280 px, light): axe label",
        "weighs",
        "keyboard: focus cannot be seen at <button> unmarked",
        "keyboard: Tab does not leave <button> trap",
        "keyboard: Tab does not reach the skip link",
    ):
        assert fault in text, fault
    assert "Tab does not reach the content" not in text and "(320 px, light): axe label" not in text
    assert "(320 px, light): axe label" in faults(browser, site, full=True)


def test_what_is_sent_compressed_weighs_less(tmp_path: Path) -> None:
    for name in ("a.css", "b.png"):
        (tmp_path / name).write_bytes(b"a" * 10_000)
    host = "http://127.0.0.1:1"
    asked = [f"{host}/a.css?v=1", f"{host}/a.css?v=1", f"{host}/b.png", "http://x/none"]
    assert 10_000 < weight.weigh(tmp_path, asked) < 10_100
