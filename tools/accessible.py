"""Mend in the rendered pages what neither configuration nor style reaches: names, roles and header cells.

Each function puts right one thing in the theme's or in Sphinx's HTML that axe finds, or that a reader stumbles over.
"""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag

# Where a word of a name begins: after an underscore, a dot, a bracket, at a capital.
WORDS = re.compile(r"(?<=[_.(/=])(?=\w)|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def mend(page: BeautifulSoup) -> None:
    """Put right, in place, what a reader of `page` by ear or by keyboard would stumble over."""
    name_by_what_is_read(page)
    name_the_sidebar(page)
    name_the_toggles(page)
    list_the_citations(page)
    head_the_rows(page)
    download_notebooks(page)
    break_names(page)


def name_by_what_is_read(page: BeautifulSoup) -> None:
    """Let a control be called what its text says; a keyboard shortcut is no part of the name."""
    for control in page.select("summary[aria-label], .search-button-field[aria-label]"):
        del control["aria-label"]
    for shortcut in page.select(".search-button-field .search-button__kbd-shortcut"):
        shortcut["aria-hidden"] = "true"


def name_the_sidebar(page: BeautifulSoup) -> None:
    """Make the sidebar a landmark: title and search stand in it, outside the list of chapters."""
    for sidebar in page.select("#pst-primary-sidebar"):
        sidebar["role"] = "complementary"
        sidebar["aria-label"] = "Chapters and search"


def name_the_toggles(page: BeautifulSoup) -> None:
    """Say of which chapter a toggle in the sidebar shows the parts."""
    for summary in page.select("li.has-children > details > summary"):
        link = summary.find_parent("li").find("a")  # type: ignore[union-attr]
        summary["aria-label"] = f"Parts of {link.get_text(strip=True)}" if isinstance(link, Tag) else "Parts"


def list_the_citations(page: BeautifulSoup) -> None:
    """Make each entry of a bibliography an item of its list; Sphinx gives it a role that is no longer one."""
    for entry in page.select(".citation-list > .citation"):
        entry["role"] = "listitem"


def head_the_rows(page: BeautifulSoup) -> None:
    """In a table whose first column has no heading, let each row be headed by its first cell."""
    for table in page.select("article table"):
        corner = table.select_one("thead > tr > :first-child")
        if not isinstance(corner, Tag) or corner.name != "th" or corner.get_text(strip=True):
            continue
        corner.name = "td"
        for cell in table.select("tbody > tr > td:first-child"):
            cell.name = "th"
            cell["scope"] = "row"


def download_notebooks(page: BeautifulSoup) -> None:
    """Let the button for the source save the file; the theme has it shown as text in a new window."""
    for link in page.select("a.btn-download-source-button"):
        link["download"] = ""
        del link["target"]


def break_names(page: BeautifulSoup) -> None:
    """In a narrow table, let a long name of code go on in the next line between its words, not inside one."""
    for name in page.select("article td code .pre"):
        words = WORDS.split(name.get_text())
        name.clear()
        for i, word in enumerate(words):
            name.extend([page.new_tag("wbr"), word] if i else [word])
