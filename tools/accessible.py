"""Mend in the rendered pages what neither configuration nor style reaches: names, roles and header cells.

Each function puts right one kind of thing in the theme's or in Sphinx's HTML that axe finds, or that a reader stumbles
over.
"""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, NavigableString

# Where a word of a name begins: after an underscore, a dot, a bracket, at a capital.
WORDS = re.compile(r"(?<=[_.(/=])(?=\w)|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
PERCENT = re.compile(r"(?<=\d) %")
OPENING = re.compile(r"[(\[‘“]+$")
PUNCTUATION = re.compile(r"[.,:;!?)’”]+")
# By selector, what is to be said of an element; None takes an attribute away.
ATTRIBUTES: dict[str, dict[str, str | None]] = {
    # A control is called what its text says; a keyboard shortcut is no part of the name.
    "summary[aria-label], .search-button-field[aria-label]": {"aria-label": None},
    ".search-button-field .search-button__kbd-shortcut": {"aria-hidden": "true"},
    # Title and search stand in the sidebar too, outside the list of chapters.
    "#pst-primary-sidebar": {"role": "complementary", "aria-label": "Chapters and search"},
    # Sphinx gives the entries of its list a role that is no longer one.
    ".citation-list > .citation": {"role": "listitem"},
    # The theme has the source shown as text in a new window; the button is there to save it.
    "a.btn-download-source-button": {"download": "", "target": None},
}


def mend(page: BeautifulSoup) -> None:
    """Put right, in place, what a reader of `page` by ear or by keyboard would stumble over."""
    for selector, attributes in ATTRIBUTES.items():
        for tag in page.select(selector):
            for name, value in attributes.items():
                if value is None:
                    del tag[name]
                else:
                    tag[name] = value
    name_the_toggles(page)
    head_the_rows(page)
    break_names(page)
    keep_together(page)


def name_the_toggles(page: BeautifulSoup) -> None:
    """Say of which chapter a toggle in the sidebar shows the parts."""
    for summary in page.select("li.has-children > details > summary"):
        link = summary.find_parents("li")[0].select_one("a")
        summary["aria-label"] = f"Parts of {link.get_text(strip=True)}" if link else "Parts"


def head_the_rows(page: BeautifulSoup) -> None:
    """In a table whose first column has no heading, let each row be headed by its first cell."""
    for corner in page.select("article table > thead > tr > th:first-child"):
        if not corner.get_text(strip=True):
            corner.name = "td"
            for cell in corner.find_parents("table")[0].select("tbody > tr > td:first-child"):
                cell.name = "th"
                cell["scope"] = "row"


def break_names(page: BeautifulSoup) -> None:
    """In a narrow table, let a long name of code go on in the next line between its words, not inside one."""
    for name in page.select("article td code .pre"):
        first, *others = WORDS.split(name.get_text())
        name.string = first
        for word in others:
            name.extend([page.new_tag("wbr"), word])


def keep_together(page: BeautifulSoup) -> None:
    """Let no line part a number from its percent sign, or a formula from the bracket before it and what ends it."""
    for text in page.find_all(string=PERCENT):
        if text.find_parent("article") and not text.find_parent(["pre", "code"]):
            text.replace_with(PERCENT.sub("\N{NO-BREAK SPACE}%", text))
    for formula in page.select("article span.math"):  # which the style keeps in one line
        before, after = formula.previous_sibling, formula.next_sibling
        if isinstance(before, NavigableString) and (signs := OPENING.search(before)):
            formula.insert(0, signs[0])
            before.replace_with(before[: signs.start()])
        if isinstance(after, NavigableString) and (signs := PUNCTUATION.match(after)):
            formula.append(signs[0])
            after.replace_with(after[signs.end() :])
