"""Every page of the site that `make site-check` has built, in Chromium; no part of the other tests.

A page that was seen without a fault is not opened again while its HTML and the site's styles and scripts stay as they
are. Of the package's own pages, which look alike, two stand for all unless slow tests are asked for too.
"""

import hashlib
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.site import keyboard, open_page
from tools.browser import served
from tools.check_site import pages
from tools.notebooks import ROOT

SITE = ROOT / "_build" / "check"
CLEAN = ROOT / "_build" / "site" / "clean"  # an empty file for each page that was clean, named by its digest
ALIKE = "book/appendix/api/"
# The first is light, the second has formulas, figures and code.
SAMPLES = ("book/index.html", "book/split_attention/radix_major.html")
REDIRECT = re.compile(r"http-equiv=[\"']refresh", re.IGNORECASE)


def cases() -> list[object]:
    shown = [page for page in pages(SITE) if not REDIRECT.search(page.read_text(encoding="utf-8"))]
    names = [page.relative_to(SITE).as_posix() for page in shown]
    seldom = [name for name in names if name.startswith(ALIKE)][2:]
    return [pytest.param(name, marks=[pytest.mark.slow] if name in seldom else []) for name in names]


def digest(name: str) -> str:
    """What decides how a page looks and works, and how it is checked."""
    found = hashlib.sha256(f"{name} {version('playwright')} {version('axe-playwright-python')}".encode())
    around = [file for file in SITE.rglob("*") if file.suffix in (".css", ".js") and file.name != "searchindex.js"]
    for file in (SITE / name, *sorted(around), *sorted(Path(__file__).parent.glob("*.py"))):
        found.update(file.read_bytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(SITE) as address:
        yield address


@pytest.mark.parametrize("name", cases())
def test_a_page_has_no_fault(browser: Browser, address: str, name: str, pytestconfig: pytest.Config) -> None:
    seen, full = CLEAN / digest(name), not pytestconfig.getoption("-m")
    if seen.exists() and not full:
        return
    assert not list(dict.fromkeys(open_page.faults(browser, address, SITE, name, full)))
    CLEAN.mkdir(parents=True, exist_ok=True)
    seen.touch()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_page_can_be_walked_through_by_keyboard_and_opened_from_the_disk(
    browser: Browser, address: str, name: str
) -> None:
    watched = open_page.Watched(browser, address.removeprefix("http://"))
    watched.page.goto(f"{address}/{name}", wait_until="load")
    found = list(keyboard.walk(watched.page))
    watched.close()
    assert not [*found, *open_page.from_disk(browser, SITE / name)]


def test_the_search_finds_a_word_from_a_server_and_from_the_disk(browser: Browser, address: str) -> None:
    for url in (f"{address}/search.html", (SITE / "search.html").as_uri()):
        assert not list(open_page.of_the_search(browser, url, "attention"))
