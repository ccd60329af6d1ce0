"""Ask Lighthouse for its marks of three pages, and fail if one is under 95.

    python -m tools.lighthouse

Lighthouse is a program for node, fetched by npx on first use; Chromium opens the pages. The site is served as any
web server would, compressed.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tools import browser
from tools.notebooks import ROOT
from tools.weight import PACKED

VERSION = "13.5.0"
PAGES = ("book/index.html", "book/split_attention/radix_major.html", "book/training/recipe.html")
CATEGORIES = ("performance", "accessibility", "best-practices")
LEAST = 95


class Compressed(SimpleHTTPRequestHandler):
    """Serves files as a web server does: text compressed, and what never changes to be kept."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def send_head(self) -> io.BytesIO | None:
        file = Path(self.translate_path(self.path))
        file = file / "index.html" if file.is_dir() else file
        if not file.is_file():
            self.send_error(404)
            return None
        content = file.read_bytes()
        self.send_response(200)
        if file.suffix not in PACKED:
            content = gzip.compress(content, 6)
            self.send_header("Content-Encoding", "gzip")
        if file.suffix != ".html":
            self.send_header("Cache-Control", "public, max-age=31536000")
        self.send_header("Content-Type", self.guess_type(str(file)))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return io.BytesIO(content)


def marks(address: str, executable: str, preset: str) -> dict[str, int]:
    """Lighthouse's marks of the page at `address`, out of 100."""
    command = ["npx", "--yes", f"lighthouse@{VERSION}", address, "--quiet", "--output=json", "--output-path=stdout"]
    command += [f"--only-categories={','.join(CATEGORIES)}", "--chrome-flags=--headless=new --no-sandbox"]
    command += [f"--preset={preset}"] if preset == "desktop" else []
    environment = {**os.environ, "CHROME_PATH": executable}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:] or "Lighthouse failed")
    found = json.loads(done.stdout)["categories"]
    return {name: round(100 * (found[name]["score"] or 0)) for name in CATEGORIES}


def main() -> int:
    site, executable = ROOT / "_build" / "html", browser.find()
    for missing, what in ((shutil.which("npx") is None, "node (with npx)"), (executable is None, "Chromium")):
        if missing:
            print(f"Lighthouse needs {what}, which is not installed here", file=sys.stderr)
            return 1
    low = False
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Compressed, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for page in PAGES:
            for preset in ("desktop", "mobile"):
                address = f"http://127.0.0.1:{server.server_address[1]}/{page}"
                found = marks(address, executable or "", preset)
                # The mobile preset plays a slow telephone, by the speed of this machine: told, not asked.
                low |= preset == "desktop" and min(found.values()) < LEAST
                print(f"{page} ({preset}): " + ", ".join(f"{name} {mark}" for name, mark in found.items()), flush=True)
        server.shutdown()
    if low:
        print(f"A mark on the desktop is under {LEAST}", file=sys.stderr)
    return int(low)


if __name__ == "__main__":
    sys.exit(main())
