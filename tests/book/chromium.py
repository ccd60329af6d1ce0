"""A browser for the tests of the interactive figures."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

from tools.browser import find, trouble
from tools.notebooks import ROOT

EXPLORABLES = ROOT / "book" / "_extra" / "explorables"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window; where there is none, the test is skipped, but where `CI` is set it fails."""
    if reason := trouble():
        if os.environ.get("CI"):
            pytest.fail(f"no Chromium: {reason}")
        pytest.skip(f"no Chromium ({reason}): the interactive figures are not tested")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
