"""What is wrong with a page that is open in Chromium, light and dark, wide and narrow, from a server and from disk."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Error, Page, TimeoutError

from tests.site import axe, weight

SCHEMES = ("light", "dark")
# A page is loaded once at the first width of each row and only resized to the others.
WIDTHS = ((1280,), (390, 320))
# What axe asks at the last width of each row, by scheme: everything once, colours again in the dark, and in a narrow
# window what depends on its width.
ASKED: tuple[dict[str, tuple[str, ...] | None], ...] = (
    {"light": None, "dark": ("color-contrast",)},
    {"light": ("target-size", "scrollable-region-focusable")},
)
HEIGHT = 900
PATIENCE = 30_000  # milliseconds

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


class Watched:
    """A browser page that notes what goes wrong behind it, and can reach only the site."""

    def __init__(self, browser: Browser, host: str = "", width: int = WIDTHS[0][0]) -> None:
        self.noted: list[str] = []
        self.asked: set[str] = set()
        self.host = host
        context = browser.new_context(
            viewport={"width": width, "height": HEIGHT}, color_scheme="light", reduced_motion="reduce"
        )
        context.set_default_timeout(PATIENCE)
        context.route(lambda url: urlsplit(url).netloc not in (self.host, ""), lambda route: route.abort())
        self.page: Page = context.new_page()
        self.close = context.close
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


def faults(browser: Browser, address: str, site: Path, name: str, full: bool = False) -> Iterator[str]:
    """Every fault of the page `name` of `site`, served at `address`; with `full`, axe asks everything of both."""
    weighs = 0
    for widths, rules in zip(WIDTHS, ASKED, strict=True):
        watched = Watched(browser, urlsplit(address).netloc, widths[0])
        yield from _at(watched, f"{address}/{name}", widths, ASKED[0] if full else rules)
        weighs = max(weighs, weight.weigh(site, watched.asked))
        watched.close()
    if weighs > weight.limit(name):
        yield f"weighs {weighs} bytes; the limit is {weight.limit(name)}"


def _at(watched: Watched, url: str, widths: tuple[int, ...], rules: dict[str, tuple[str, ...] | None]) -> Iterator[str]:
    page = watched.page
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
    # Images further down come later, but they come.
    watched.asked.update(page.evaluate("[...document.querySelectorAll('article img')].map((image) => image.src)"))
    axe.prepare(page)
    for scheme, only in rules.items():
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for fault in axe.violations(page, only):
            yield f"({widths[-1]} px, {scheme}): {fault}"
    for note in watched.take():
        yield f"({widths[0]} px): {note}"


def of_the_search(browser: Browser, url: str, word: str) -> Iterator[str]:
    watched = Watched(browser, urlsplit(url).netloc)
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
    watched.close()


def from_disk(browser: Browser, page: Path) -> Iterator[str]:
    """What goes wrong when the page is opened as a file, without a server."""
    watched = Watched(browser)
    watched.page.goto(page.as_uri(), wait_until="load")
    watched.page.add_style_tag(content=LAID_OUT)
    yield from watched.page.evaluate(FAULTS)
    yield from watched.take()
    watched.close()
