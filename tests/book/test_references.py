"""Every paper that the book leans on is in the bibliography, under the year of its first version."""

import re
from pathlib import Path

BIB = (Path(__file__).resolve().parents[2] / "book" / "references.bib").read_text(encoding="utf-8")
ENTRIES = dict(re.findall(r"@\w+\{(\w+),\n(.*?)\n\}", BIB, re.DOTALL))


def test_years_are_those_of_the_first_version() -> None:
    dated = 0
    for key, body in ENTRIES.items():
        if number := re.search(r"eprint = \{(\d\d)\d\d\.\d{4,5}\}", body):
            assert f"year = {{20{number.group(1)}}}" in body, key
            dated += 1
    assert dated >= 25


def test_no_paper_is_listed_twice() -> None:
    assert sorted(re.findall(r"@(?!comment)\w+\{(\w+),", BIB)) == sorted(ENTRIES)
    numbers = re.findall(r"eprint = \{(.*?)\}", BIB)
    titles = re.findall(r"title = \{\{(.*?)\}\}", BIB)
    assert len(set(numbers)) == len(numbers)
    assert len({title.casefold() for title in titles}) == len(titles) == len(ENTRIES)
