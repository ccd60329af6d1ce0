"""Walk through a page with the Tab key, as a reader without a mouse does."""

from __future__ import annotations

from collections.abc import Iterator

from playwright.sync_api import Page

MOST = 600  # stops; a page has fewer, so a walk that is longer goes in a circle

# Where a reader must come by, each a selector that the focused element or one around it matches.
PLACES = {
    "the skip link": "#pst-skip-link",
    "the search": ".search-button-field",
    "the sidebar": "#pst-primary-sidebar nav",
    "the content": "article",
}

STOP = """(places) => {
  const at = document.activeElement;
  if (!at || at === document.body || at === document.documentElement) return null;
  window.stops = window.stops ?? new Map();
  if (!window.stops.has(at)) window.stops.set(at, window.stops.size);
  const box = at.getBoundingClientRect();
  const style = getComputedStyle(at);
  const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  return {
    number: window.stops.get(at),
    name: `<${at.localName}> ${(at.textContent || at.getAttribute('aria-label') || '').trim().slice(0, 40)}`,
    seen: inside && box.width > 0 && box.height > 0 && style.visibility === 'visible',
    marked: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1 || style.boxShadow !== 'none',
    places: Object.keys(places).filter((place) => at.closest(places[place])),
  };
}"""


def walk(page: Page) -> Iterator[str]:
    """Every fault of the walk from the top of `page` to its end, a line each."""
    page.evaluate("() => { document.activeElement?.blur(); scrollTo(0, 0); }")
    reached: set[str] = set()
    last = -1
    for _ in range(MOST):
        page.keyboard.press("Tab")
        stop = page.evaluate(STOP, PLACES)
        if stop is None or (stop["number"] == 0 and last > 0):
            break
        if stop["number"] <= last:
            yield f"keyboard: Tab does not leave {stop['name']}"
            break
        last = stop["number"]
        reached.update(stop["places"])
        if not stop["seen"]:
            yield f"keyboard: focus is out of sight at {stop['name']}"
        elif not stop["marked"]:
            yield f"keyboard: focus cannot be seen at {stop['name']}"
    else:
        yield f"keyboard: no end after {MOST} stops"
    for place in PLACES:
        if place not in reached:
            yield f"keyboard: Tab does not reach {place}"
