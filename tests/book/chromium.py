"""A browser for the tests of the interactive figures."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

from tools.browser import find
from tools.notebooks import ROOT

EXPLORABLES = ROOT / "book" / "_extra" / "explorables"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window; where there is none, the test is skipped, but under CI=true it fails."""
    if not (executable := find()):
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium found")
        pytest.skip("no Chromium found: the interactive figures are not tested")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
