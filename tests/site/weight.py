"""What a page weighs on its way to the reader: everything it asks the site for, as a web server would compress it."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

LANDING = "book/index.html"
LANDING_LIMIT = 700_000  # bytes
LIMIT = 1_500_000
# Compressed already; a server sends them as they are.
PACKED = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".woff2", ".woff", ".gz")


@cache
def transferred(file: Path) -> int:
    """Bytes of `file` as sent."""
    content = file.read_bytes()
    return len(content) if file.suffix in PACKED else len(gzip.compress(content, 6))


def weigh(site: Path, addresses: Iterable[str]) -> int:
    """Bytes of all files of `site` among `addresses`, each once."""
    files = {site / unquote(urlsplit(address).path).lstrip("/") for address in addresses}
    return sum(transferred(file) for file in files if file.is_file())


def limit(name: str) -> int:
    """The most that the page `name` may weigh."""
    return LANDING_LIMIT if name == LANDING else LIMIT


def told(weights: dict[str, int]) -> str:
    """The landing page's weight and the heaviest page, in a line."""
    heaviest = max(weights, key=weights.__getitem__)
    landing = f"landing page {weights[LANDING] / 1000:.0f} kB, " if LANDING in weights else ""
    return f"{landing}heaviest {heaviest} {weights[heaviest] / 1000:.0f} kB, compressed"
