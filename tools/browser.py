"""The system's Chromium, and a server for what it opens: for printing the book and for checking its pages."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, sync_playwright

NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


def find() -> str | None:
    """The system's Chromium, under one of its usual names, or the one that playwright has installed."""
    for path in filter(None, map(shutil.which, NAMES)):
        # A snap sees neither temporary files nor hidden folders; what leads to one may be a script.
        if "snap" not in os.path.realpath(path) and b"/snap/bin" not in Path(path).read_bytes()[:4096]:
            return path
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) else None


def trouble() -> str:
    """What keeps pages from being opened in a browser; empty if nothing does."""
    if (executable := find()) is None:
        return "none is installed"
    try:
        with sync_playwright() as playwright:
            playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"]).close()
    except Error as error:
        return f"{executable} does not start: {str(error).splitlines()[0]}"
    return ""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def copyfile(self, source: Any, outputfile: Any) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # a page that is left early no longer wants its file
            super().copyfile(source, outputfile)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of `folder`, served from this process."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
