"""What stands in the way of the text is left out or waits."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from PIL import Image

from tools.accessible import mend
from tools.lighten import lighten, pack_images

PAGE = """<!DOCTYPE html><html><head>
<script src="../_static/scripts/fontawesome.js" defer></script><script src="../searchindex.js"></script>
<link rel="preload" as="script" href="../_static/doctools.js"><script src="../_static/doctools.js"></script>
</head><body><article>
<img src="../_images/a.png" alt="a"><img src="../_images/big.png" alt="b"></article></body></html>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for folder in ("_images", "book"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (3, 2)).save(tmp_path / "_images/a.png")
    Image.effect_noise((300, 300), 50).save(tmp_path / "_images/big.png")
    return tmp_path


def lightened(site: Path) -> BeautifulSoup:
    page = BeautifulSoup(PAGE, "html.parser")
    lighten(site / "book/page.html", page)
    return page


def test_only_what_the_page_uses_is_loaded_and_it_waits(site: Path) -> None:
    page = lightened(site)
    assert [(s["src"], s.has_attr("defer")) for s in page.select("script[src]")] == [("../_static/doctools.js", True)]
    assert not page.select("link")


def test_images_have_a_size_and_large_ones_are_packed_once(site: Path) -> None:
    content = (site / "_images/big.png").read_bytes()
    pack_images(site / "_images", site / "packed")
    first, second = lightened(site).select("img")
    assert (first["src"], first["width"], first["height"]) == ("../_images/a.png", "3", "2")
    assert (second["src"], second["width"], second["loading"]) == ("../_images/big.webp", "300", "lazy")
    assert (site / "_images/big.webp").exists() and not (site / "_images/big.png").exists()

    (site / "packed/big.webp").write_bytes(b"packed before")
    (site / "_images/big.png").write_bytes(content)
    pack_images(site / "_images", site / "packed")
    assert (site / "_images/big.webp").read_bytes() == b"packed before"


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
