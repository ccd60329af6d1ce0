"""Open the pages of the site in Chromium, light and dark, wide and narrow, and see that they stand.

Each page is also read by axe and weighed; a few are walked through by keyboard, and opened from the disk. A page that
was seen without a fault is not opened again while its HTML and the site's styles and scripts stay as they are.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Error, Page, TimeoutError, sync_playwright

from tools import axe, keyboard, weight
from tools.notebooks import ROOT

NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
SCHEMES = ("light", "dark")
# A page is loaded once at the first width of each row and only resized to the others.
WIDTHS = ((1280,), (390, 320))
# What axe asks at the last width of each row, by scheme: everything once, colours again in the dark, and in a narrow
# window what depends on its width.
ASKED: tuple[dict[str, tuple[str, ...] | None], ...] = (
    {"light": None, "dark": ("color-contrast",)},
    {"light": ("target-size", "scrollable-region-focusable")},
)
# Pages that look alike, of which two stand for all but in a full check.
ALIKE = "book/appendix/api/"
HEIGHT = 900
PATIENCE = 30_000  # milliseconds
WORKERS = 2  # browsers side by side
# Pages that are walked through by keyboard and opened from the disk, if the site has them: the first is light, the
# second has formulas, figures and code.
SAMPLES = ("book/index.html", "book/split_attention/radix_major.html")

# Digests of the pages that were clean when they were last opened.
CLEAN = ROOT / "_build" / "site" / "clean_pages"

# Sections out of sight hide their faults unless they are laid out.
LAID_OUT = "article section { content-visibility: visible !important }"

# What is wrong with the page as it stands now, a string each.
FAULTS = r"""() => {
  const found = [];
  const article = document.querySelector('article') ?? document.body;
  for (const box of article.querySelectorAll('.math')) {
    if (!box.querySelector('mjx-container'))
      found.push(`formula not set: ${box.textContent.trim().slice(0, 60)}`);
  }
  for (const box of article.querySelectorAll('mjx-merror'))
    found.push(`formula with an error: ${(box.getAttribute('title') ?? box.textContent).slice(0, 80)}`);
  const walker = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.parentElement.closest('pre, code, script, style, mjx-container, .math')) continue;
    const raw = node.data.match(/\$\$|\\\(|\\\[|\\begin\{/);
    if (raw) found.push(`raw formula: ${node.data.trim().slice(0, 60)}`);
  }
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) {
    const scrolls = (e) => ['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(e).overflowX);
    const culprit = [...document.querySelectorAll('main *')].find((e) => {
      if (e.getBoundingClientRect().right <= width + 1) return false;
      let above = e.parentElement;
      while (above && above !== document.body && !scrolls(above)) above = above.parentElement;
      return !above || above === document.body;
    });
    const excess = document.documentElement.scrollWidth - width;
    const name = culprit
      ? `<${culprit.tagName} class="${culprit.className}"> ${culprit.textContent.trim().slice(0, 40)}`
      : 'no single element';
    found.push(`wider than the window by ${excess} px, from ${name}`);
  }
  for (const image of article.querySelectorAll('img'))
    if (image.complete && !image.naturalWidth) found.push(`image not shown: ${image.getAttribute('src')}`);
  return found;
}"""

# True as soon as the theme shown is the one asked for.
SHOWN_THEME = "(scheme) => [scheme, undefined].includes(document.documentElement.dataset.theme)"


def find() -> str | None:
    """The system's Chromium, under one of its usual names, or the one that playwright has installed."""
    for name in NAMES:
        if (path := shutil.which(name)) and not _of_snap(path):
            return path
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) else None


def _of_snap(path: str) -> bool:
    """Whether `path` leads to a snap, which sees neither temporary files nor hidden folders."""
    with open(path, "rb") as file:
        start = file.read(4096)
    return "snap" in os.path.realpath(path) or (start.startswith(b"#!") and b"/snap/bin" in start)


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


class _Watched:
    """A browser page that notes what goes wrong behind it, and can reach only the site."""

    def __init__(self, browser: Browser, address: str, width: int) -> None:
        self.noted: list[str] = []
        self.asked: set[str] = set()
        self.host = urlsplit(address).netloc
        context = browser.new_context(
            viewport={"width": width, "height": HEIGHT}, color_scheme="light", reduced_motion="reduce"
        )
        context.set_default_timeout(PATIENCE)
        context.route(lambda url: urlsplit(url).netloc not in (self.host, ""), lambda route: route.abort())
        self.page: Page = context.new_page()
        self.page.on("request", lambda request: self._request(request.url))
        self.page.on("response", lambda response: self._response(response.status, response.url))
        self.page.on("pageerror", lambda error: self.noted.append(f"script error: {error}"))
        self.page.on("console", lambda message: self._console(message.type, message.text))

    def _console(self, kind: str, text: str) -> None:
        if kind == "error":
            self.noted.append(f"console: {text}")

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        self.asked.add(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != self.host:
            self.noted.append(f"asks another host: {url}")

    def _response(self, status: int, url: str) -> None:
        if status >= 400:
            self.noted.append(f"{status} for {urlsplit(url).path}")

    def take(self) -> list[str]:
        # What is missing is told once, with its address.
        noted = [note for note in self.noted if "status of 404" not in note]
        self.noted.clear()
        return noted


def to_open(site: Path, pages: list[Path], full: bool = False) -> tuple[dict[Path, str], str]:
    """Which of `pages` are to be opened, each with the digest under which it is kept if clean, and a line about it."""
    chosen = [page for page in pages if not page.relative_to(site).as_posix().startswith(ALIKE)]
    alike = [page for page in pages if page not in chosen]
    around = _surroundings(site)
    digests = {page: _digest(site, page, around) for page in (pages if full else [*chosen, *alike[:2]])}
    clean = set() if full else _clean()
    opened = {page: digest for page, digest in digests.items() if digest not in clean}
    told = f"{len(opened)} of {len(pages)} pages opened"
    if known := len(digests) - len(opened):
        told += f"; {known} were clean before and are the same"
    if left := len(pages) - len(digests):
        told += f"; {left} of the package's left to --all"
    return opened, told


def _clean() -> set[str]:
    return set(CLEAN.read_text(encoding="utf-8").split()) if CLEAN.exists() else set()


def _digest(site: Path, page: Path, around: str) -> str:
    """What decides how `page` looks and works, and how it is checked."""
    files = [page, site / "searchindex.js"] if page.name == "search.html" else [page]
    content = [file.read_text(encoding="utf-8") for file in files if file.exists()]
    return hashlib.sha256("\0".join([page.relative_to(site).as_posix(), around, *content]).encode()).hexdigest()


def _surroundings(site: Path) -> str:
    """A digest of the site's styles and scripts, of these checks and of the browser."""
    digest = hashlib.sha256(f"{find()} {version('playwright')} {version('axe-playwright-python')}".encode())
    scripts = [file for file in site.rglob("*") if file.suffix in (".css", ".js") and file.name != "searchindex.js"]
    for file in (*sorted(scripts), *sorted(Path(__file__).parent.glob("*.py"))):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def check_pages(
    executable: str,
    site: Path,
    pages: list[Path],
    word: str,
    screenshots: Path | None = None,
    full: bool = False,
) -> list[str]:
    """Every fault of every page that is to be opened, a line each; optionally a picture of each."""
    digests, told = to_open(site, pages, full or screenshots is not None)
    print(told)
    if not digests:
        return []
    # The largest first, so that no worker is left with one at the end.
    queue = deque(sorted(digests, key=lambda page: page.stat().st_size, reverse=True))
    opened = {page.relative_to(site).as_posix() for page in digests}
    samples = [name for name in SAMPLES if name in opened]
    search = site / "search.html" in digests
    found: dict[str, list[str]] = {}
    weights: dict[str, int] = {}

    def work(address: str, first: bool) -> None:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
            watched = {widths: _Watched(browser, address, widths[0]) for widths in WIDTHS}
            while queue:
                page = queue.popleft()
                name = page.relative_to(site).as_posix()
                faults: list[str] = []
                for (widths, eye), asked in zip(watched.items(), ASKED, strict=True):
                    eye.asked.clear()
                    rules = ASKED[0] if full else asked
                    faults += _check_page(eye, f"{address}/{name}", widths, rules, _picture(screenshots, name))
                    weights[name] = max(weights.get(name, 0), weight.weigh(site, eye.asked))
                if weights[name] > weight.limit(name):
                    faults.append(f"weighs {weights[name]} bytes; the limit is {weight.limit(name)}")
                found[name] = [f"{name} {fault}" for fault in dict.fromkeys(faults)]
            if first:
                found["~"] = [*_by_keyboard(browser, site, address, samples), *_from_disk(browser, site, samples)]
            elif search:
                found["~~"] = [
                    *_search(watched[WIDTHS[0]], f"{address}/search.html", word),
                    *_search(_Watched(browser, "file://", WIDTHS[0][0]), (site / "search.html").as_uri(), word),
                ]
            browser.close()

    with served(site) as address, ThreadPoolExecutor(WORKERS) as workers:
        for done in [workers.submit(work, address, i == 0) for i in range(WORKERS)]:
            done.result()
    print(weight.told(weights))
    faults = [fault for name in sorted(found) for fault in found[name]]
    faulty = {fault.partition(" ")[0].rstrip(":") for fault in faults}
    clean = _clean() | {digests[page] for page in digests if page.relative_to(site).as_posix() not in faulty}
    CLEAN.parent.mkdir(parents=True, exist_ok=True)
    CLEAN.write_text("\n".join(sorted(clean)), encoding="utf-8")
    return faults


def _picture(folder: Path | None, name: str) -> str | None:
    return str(folder / name.removesuffix(".html").replace("/", "-")) if folder else None


def _check_page(
    watched: _Watched,
    url: str,
    widths: tuple[int, ...],
    rules: Mapping[str, Sequence[str] | None],
    picture: str | None,
) -> Iterator[str]:
    page = watched.page
    page.set_viewport_size({"width": widths[0], "height": HEIGHT})
    page.emulate_media(color_scheme="light")
    page.goto(url, wait_until="load")
    page.add_style_tag(content=LAID_OUT)
    for width in widths:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            where = f"({width} px, {scheme})"
            try:
                page.wait_for_function(SHOWN_THEME, arg=scheme)
            except TimeoutError:
                yield f"{where}: the theme does not follow the reader's setting"
            for fault in page.evaluate(FAULTS):
                yield f"{where}: {fault}"
            if picture and width in (1280, 390):
                page.screenshot(path=f"{picture}-{width}-{scheme}.png", full_page=True)
    # Images further down come later, but they come.
    watched.asked.update(page.evaluate("[...document.querySelectorAll('article img')].map((image) => image.src)"))
    axe.prepare(page)
    for scheme, only in rules.items():
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for fault in axe.violations(page, only):
            yield f"({widths[-1]} px, {scheme}): {fault}"
    for note in watched.take():
        yield f"({widths[0]} px): {note}"


def _search(watched: _Watched, url: str, word: str) -> Iterator[str]:
    page = watched.page
    where = "search.html:" if url.startswith("http") else "search.html from the disk:"
    try:
        page.goto(url, wait_until="load")
        box = page.locator("form input[name='q']").locator("visible=true").first
        box.fill(word)
        box.press("Enter")
        page.wait_for_selector("#search-results ul.search li a")
    except TimeoutError:
        yield f"{where} the search for {word!r} finds nothing"
    except Error as error:
        yield f"{where} the search does not work: {error}"
    yield from (f"{where} {note}" for note in watched.take())


def _by_keyboard(browser: Browser, site: Path, address: str, samples: list[str]) -> Iterator[str]:
    watched = _Watched(browser, address, WIDTHS[0][0])
    for name in samples:
        watched.page.goto(f"{address}/{name}", wait_until="load")
        yield from (f"{name} {fault}" for fault in keyboard.walk(watched.page))


def _from_disk(browser: Browser, site: Path, samples: list[str]) -> Iterator[str]:
    """What goes wrong when pages are opened as files, without a server."""
    watched = _Watched(browser, "file://", WIDTHS[0][0])
    for name in samples:
        watched.page.goto((site / name).resolve().as_uri(), wait_until="load")
        watched.page.add_style_tag(content=LAID_OUT)
        for fault in [*watched.page.evaluate(FAULTS), *watched.take()]:
            yield f"{name} from the disk: {fault}"
