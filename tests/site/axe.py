"""Deque's axe, run inside a page that is open in a browser: what a reader with another way of reading would meet.

The rules are those of WCAG 2.2, levels A and AA, and axe's own good practice. axe comes with the package
axe-playwright-python; nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from playwright.sync_api import Page

TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
# Rules that axe still calls experimental or leaves off, and that Lighthouse asks.
ALSO = ("target-size", "label-content-name-mismatch", "td-has-header", "table-fake-caption")

# axe measures every element against every other, which takes most of a minute on a long chapter: nine tenths
# of these elements are the coloured words of listings and the glyphs of formulas. So before axe looks, of each
# kind of word one is kept, and each formula after the first becomes a box of its size. The page is of no use
# afterwards.
THIN = """() => {
  const kinds = new Set();
  const name = (e) => `${e.localName}.${e.className}`;
  for (const word of document.querySelectorAll('article :is(span, em, strong, code):not([id], [role], [tabindex])')) {
    if (word.closest('.math, mjx-container, figcaption, nav')) continue;
    if (word.querySelector('[id], a, button, input, img')) continue;
    const ground = word.closest('.cell_output, .admonition, .highlight, dt, th, td') ?? document.body;
    const kind = `${name(word)} in ${name(word.parentElement)} on ${name(ground)}`;
    if (kinds.has(kind)) word.replaceWith(...word.childNodes);
    kinds.add(kind);
  }
  for (const box of document.querySelectorAll('article')) box.normalize();
  const formulas = [...document.querySelectorAll('mjx-container')].slice(1);
  const sizes = formulas.map((formula) => [formula.scrollWidth, formula.clientHeight]);
  formulas.forEach((formula, i) => {
    const box = document.createElement('span');
    box.style.cssText = 'display: inline-block; overflow: hidden; font-size: 1px';
    box.style.width = `${sizes[i][0]}px`;
    box.style.height = `${sizes[i][1]}px`;
    box.textContent = 'x'; // an empty box would not count as something to scroll to
    formula.replaceChildren(box);
  });
}"""

RUN = """async ([tags, also, only]) => {
  const rules = Object.fromEntries(also.map((rule) => [rule, { enabled: true }]));
  const runOnly = only ? { type: 'rule', values: only } : { type: 'tag', values: tags };
  // No rule in use reads style sheets, which axe would fetch again, their imports by wrong addresses.
  const options = { runOnly, rules: only ? {} : rules, resultTypes: ['violations'], preload: false };
  const result = await axe.run(document, options);
  return result.violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ target, any }) => {
      const { fgColor, bgColor, contrastRatio } = any[0]?.data ?? {};
      const measured = contrastRatio ? ` (${fgColor} on ${bgColor}: ${contrastRatio})` : '';
      return `axe ${id}: ${help}${measured}: ${target.join(' ')}`;
    }));
}"""


def prepare(page: Page) -> None:
    """Put axe into `page`, and thin out what there is thousandfold."""
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    page.evaluate(THIN)


def violations(page: Page, only: Sequence[str] | None = None) -> list[str]:
    """Each element of a prepared page that breaks a rule (one of `only`, if given), a line each."""
    return list(page.evaluate(RUN, [TAGS, ALSO, only]))
