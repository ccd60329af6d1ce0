"""Scripts wait, images have a size, and what a reader by ear or by keyboard would stumble over is mended."""

from pathlib import Path

from bs4 import BeautifulSoup
from PIL import Image

from tools.accessible import mend
from tools.lighten import lighten, pack_images

PAGE = """<!DOCTYPE html><html><head><script src="../_static/doctools.js"></script>
<script src="../_static/documentation_options.js"></script><script type="module" src="../m.js"></script></head><body>
<div id="pst-primary-sidebar"></div><details><summary aria-label="Toggle">Show</summary></details>
<ul><li class="has-children"><a href="x.html">Ex</a><details><summary></summary></details></li></ul>
<a class="btn btn-download-source-button" href="../_sources/a.ipynb" target="_blank">.ipynb</a>
<div class="citation-list" role="list"><div class="citation" role="doc-biblioentry"></div></div><article>
<p><code><span class="pre">a_b</span></code></p>
<img src="../_images/a.png" alt="a"><img src="../_images/big.png" alt="b">
<table><thead><tr><th></th><th>a</th></tr></thead><tbody><tr><td>row</td><td><code>
<span class="pre">to_cardinality_major()</span><span class="pre">RadixMajorSplitAttention</span>
<span class="pre">splits.sum(dim=1)</span></code></td></tr></tbody></table></article></body></html>"""


def test_scripts_wait_and_images_have_a_size_and_large_ones_are_packed_once(tmp_path: Path) -> None:
    for folder in ("_images", "_static", "packed"):
        (tmp_path / folder).mkdir()
    (tmp_path / "_static/documentation_options.js").write_text("const options = {};")
    Image.new("RGB", (3, 2)).save(tmp_path / "_images/a.png")
    Image.effect_noise((300, 300), 50).save(tmp_path / "_images/big.png")
    content = (tmp_path / "_images/big.png").read_bytes()
    pack_images(tmp_path / "_images", tmp_path / "packed")
    page = BeautifulSoup(PAGE, "html.parser")
    lighten(tmp_path / "book/page.html", page)
    scripts = page.select("script")
    assert [(s.get("src"), s.has_attr("defer")) for s in scripts] == [
        ("../_static/doctools.js", True),
        (None, False),
        ("../m.js", False),
    ]
    assert str(scripts[1].string).startswith("const options = {};")
    first, second = page.select("img")
    assert (first["src"], first["width"], first["height"]) == ("../_images/a.png", "3", "2")
    assert (second["src"], second["width"], second["loading"]) == ("../_images/big.webp", "300", "lazy")
    assert (tmp_path / "_images/big.webp").exists() and not (tmp_path / "_images/big.png").exists()

    (tmp_path / "packed/big.webp").write_bytes(b"packed before")
    (tmp_path / "_images/big.png").write_bytes(content)
    pack_images(tmp_path / "_images", tmp_path / "packed")
    assert (tmp_path / "_images/big.webp").read_bytes() == b"packed before"


def test_names_roles_row_headers_and_long_names_are_mended() -> None:
    page = BeautifulSoup(PAGE, "html.parser")
    mend(page)
    assert page.select_one("#pst-primary-sidebar[role=complementary][aria-label]")
    assert [summary.get("aria-label") for summary in page.select("summary")] == [None, "Parts of Ex"]
    assert page.select_one(".citation[role=listitem]") and page.select_one("a[download]:not([target])")
    assert [cell.get_text() for cell in page.select("th")] == ["a", "row"]
    names = ["to_|cardinality_|major()", "Radix|Major|Split|Attention", "splits.|sum(|dim=|1)"]
    assert [name.get_text("|") for name in page.select("td .pre")] == names
    assert len(page.select("td wbr")) == 8 and not page.select("p wbr")


def test_no_line_parts_a_number_or_a_formula_from_its_signs() -> None:
    formula = '<span class="math">R</span>'
    page = (
        f"<article><p>{formula}: 99.1 % of {formula}, ({formula}) is<code>7 % 2</code></p>{formula}</article><p>1 %</p>"
    )
    soup = BeautifulSoup(page, "html.parser")
    mend(soup)
    assert [one.get_text() for one in soup.select(".math")] == ["R:", "R,", "(R)", "R"]
    assert soup.article.get_text() == "R: 99.1\N{NO-BREAK SPACE}% of R, (R) is7 % 2R"
    assert soup.get_text().endswith("1 %")  # only what is read
