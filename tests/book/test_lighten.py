"""What is left out of the site is only what no page uses."""

from importlib.resources import files
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from PIL import Image

from tools.accessible import mend
from tools.lighten import MEASURED, lighten

PAGE = """<!DOCTYPE html><html><head>
<link rel="stylesheet" href="../_static/a.css?v=1"><link rel="stylesheet" href="../_static/b.css">
<script src="../_static/scripts/fontawesome.js" defer></script><script src="../searchindex.js"></script>
<script src="../_static/doctools.js"></script>
</head><body><i class="fa-solid fa-bars"></i><p class="shown" id="here">x</p>
<article><img src="../_images/a.png" alt="a"><img src="../_images/big.png" alt="b"></article></body></html>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for folder in ("_static/scripts", "_images", "book"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "_static/a.css").write_text(
        "@import 'c.css'; .shown, .absent { color: red } .absent { color: blue } #here:not(.absent) { top: 0 }"
        '@media print { .absent { top: 0 } .shown { left: 0 } } :root { --pst-icon-bell: "\\f0c9" }'
        ".shown::after { content: var(--pst-icon-bell) } .set-by-script { top: 1px }"
    )
    (tmp_path / "_static/b.css").write_text('.shown { background: url("images/x.svg") }')
    (tmp_path / "_static/c.css").write_text("p { margin: 1px }")
    (tmp_path / "_static/doctools.js").write_text("x.classList.add('set-by-script')")
    (tmp_path / "_static/scripts/fontawesome.js").write_text('{bars:[4,5,["navicon"],"f0c9","M0 9"]}')
    Image.new("RGB", (3, 2)).save(tmp_path / "_images/a.png")
    Image.effect_noise((300, 300), 50).save(tmp_path / "_images/big.png")
    (tmp_path / "book/page.html").write_text(PAGE)
    return tmp_path


def lightened(site: Path) -> BeautifulSoup:
    path = site / "book/page.html"
    page = BeautifulSoup(path.read_text(), "html.parser")
    lighten(site, {path: page})
    return page


def test_styles_become_one_sheet_of_what_can_apply(site: Path) -> None:
    page = lightened(site)
    assert [link["href"] for link in page.select("link")] == ["../_static/styles.css"]
    styles = (site / "_static/styles.css").read_text()
    for kept in (
        "p{margin",
        ".shown{color",
        "#here:not(.absent)",
        ".shown{left",
        ".set-by-script",
        'url("images/x.svg")',
    ):
        assert kept in styles, kept
    assert "blue" not in styles and "@import" not in styles and ",.absent" not in styles


def test_icons_are_drawn_by_the_styles(site: Path) -> None:
    lightened(site)
    styles = (site / "_static/styles.css").read_text()
    assert ".fa-bars { --icon: url(" in styles and "viewBox='0 0 4 5'" in styles and "d='M0 9'" in styles
    assert "mask: var(--pst-icon-bell)" in styles and styles.count("d='M0 9'") == 2
    assert not (site / "_static/scripts/fontawesome.js").exists()


def test_the_theme_no_longer_measures_every_box(site: Path) -> None:
    theme = site / "_static/scripts/pydata-sphinx-theme.js"
    theme.write_text(
        'all(["pre",".nboutput > .output_area",".cell_output > .output"].join())\n//# sourceMappingURL=x.map'
    )
    lightened(site)
    assert theme.read_text() == "all(['none'].join())\n"


def test_the_theme_that_is_installed_has_what_is_taken_out() -> None:
    theme = files("pydata_sphinx_theme") / "theme/pydata_sphinx_theme/static/scripts/pydata-sphinx-theme.js"
    assert MEASURED.search(theme.read_text(encoding="utf-8"))


def test_only_what_the_page_uses_is_loaded_and_it_waits(site: Path) -> None:
    page = lightened(site)
    assert [(s["src"], s.has_attr("defer")) for s in page.select("script[src]")] == [("../_static/doctools.js", True)]


def test_images_have_a_size_and_large_ones_are_packed(site: Path) -> None:
    first, second = lightened(site).select("img")
    assert (first["src"], first["width"], first["height"]) == ("../_images/a.png", "3", "2")
    assert (second["src"], second["width"], second["loading"]) == ("../_images/big.webp", "300", "lazy")
    assert (site / "_images/big.webp").exists() and not (site / "_images/big.png").exists()


def test_names_roles_and_row_headers_are_mended() -> None:
    page = BeautifulSoup(
        """<div id="pst-primary-sidebar"></div><details><summary aria-label="Toggle">Show</summary></details>
        <div class="citation-list" role="list"><div class="citation" role="doc-biblioentry"></div></div><article>
        <table><thead><tr><th></th><th>a</th></tr></thead><tbody><tr><td>row</td><td>1</td></tr></tbody></table>
        </article>""",
        "html.parser",
    )
    mend(page)
    assert page.select_one("#pst-primary-sidebar[role=complementary][aria-label]")
    assert not page.select("summary[aria-label]") and page.select_one(".citation[role=listitem]")
    assert [cell.get_text() for cell in page.select("th")] == ["a", "row"]


def test_names_in_tables_break_between_their_words() -> None:
    code = '<code><span class="pre">{}</span></code>'
    names = "to_cardinality_major()", "RadixMajorSplitAttention", "splits.sum(dim=1)"
    cells = "".join(f"<td>{code.format(name)}</td>" for name in names)
    page = BeautifulSoup(
        f"<article><p>{code.format('a_b')}</p><table><tr>{cells}</tr></table></article>", "html.parser"
    )
    mend(page)
    assert [cell.get_text("|") for cell in page.select("td")] == [
        "to_|cardinality_|major()",
        "Radix|Major|Split|Attention",
        "splits.|sum(|dim=|1)",
    ]
    assert len(page.select("td wbr")) == 8 and not page.select("p wbr")


def test_the_button_for_the_source_saves_the_file() -> None:
    link = '<a class="btn btn-download-source-button" href="../_sources/a.ipynb" target="_blank">.ipynb</a>'
    page = BeautifulSoup(link, "html.parser")
    mend(page)
    button = page.select_one("a")
    assert button is not None and button.has_attr("download") and not button.has_attr("target")
