"""Formulas are set while the site is built, in the form in which a browser with MathJax would have set them."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from tools.formulas import FormulaError, set_formulas

HEAD = '<html><head><script src="https://elsewhere.example/mathjax/tex.js"></script></head><body>'


def pages(site: Path, *bodies: str) -> dict[Path, BeautifulSoup]:
    (site / "_static").mkdir()
    return {site / f"book/{i}.html": BeautifulSoup(HEAD + body, "html.parser") for i, body in enumerate(bodies)}


def test_formulas_are_set_where_they_stand_with_mathml_and_their_number(tmp_path: Path) -> None:
    inline, display = r'<span class="math">\(x_i^2\)</span>', r'<span class="eqno">(7)</span>\[\frac{a}{b}\]'
    amsmath = r"<div class='math amsmath'>\begin{equation}z\end{equation}</div>"
    made = pages(tmp_path, f'<p>{inline} and {inline}</p><div class="math">{display}</div>{amsmath}')
    set_formulas(tmp_path, made)
    (page,) = made.values()
    assert [box.get("display") for box in page.select(".math > mjx-container")] == [None, None, "true", "true"]
    assert len(page.select("p msubsup")) == 2 and page.select_one("div.math math mfrac")
    assert page.select_one("div.math > .eqno + mjx-container")
    assert "\\" not in page.get_text()


def test_only_pages_with_formulas_load_their_style_and_no_page_loads_mathjax(tmp_path: Path) -> None:
    made = pages(tmp_path, r'<p class="math">\(x\)</p>', "<p>costs $5 and \\(not a formula\\)</p>")
    set_formulas(tmp_path, made)
    with_formulas, without = made.values()
    assert [link["href"] for link in with_formulas.select("head > link")] == ["../_static/formulas.css"]
    assert not without.select("link") and "\\(not a formula\\)" in without.get_text()
    assert not with_formulas.select("script") and not without.select("script")


@pytest.mark.parametrize("tex", [r"\nosuchcommand", r"\frac{a"])
def test_a_formula_that_cannot_be_set_is_named_with_its_page(tmp_path: Path, tex: str) -> None:
    made = pages(tmp_path, "", rf'<p class="math">\({tex}\)</p>', rf'<p class="math">\({tex}\)</p>')
    with pytest.raises(FormulaError) as raised:
        set_formulas(tmp_path, made)
    assert "book/1.html, book/2.html: " in str(raised.value) and tex in str(raised.value)
    assert not (tmp_path / "_static/formulas.css").exists()


def test_the_style_brings_its_fonts_and_covers_pages_that_are_ready(tmp_path: Path) -> None:
    made = pages(tmp_path, r'<p class="math">\(x\)</p>', "")
    held = set_formulas(tmp_path, made, [(r"\sum", True)])
    assert list(held.values()) == [[("x", False)], []]
    css = (tmp_path / "_static/formulas.css").read_text()
    assert "mjx-c1D465" in css and "mjx-c2211" in css and "mjx-c222B" not in css and "mjx-assistive-mml" in css
    fonts = {font.name for font in (tmp_path / "_static/formulas-fonts").iterdir()}
    assert "MathJax_Math-Italic.woff" in fonts and all(f"formulas-fonts/{font}" in css for font in fonts)
