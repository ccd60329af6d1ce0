"""Every figure in the prose of a page is borne out there: by an output, by code, a formula, a sum or a source.

Asked for are all numerals but whole numbers up to twelve, dates, and those of sentences that cite. A figure is borne
out if it is, rounded as it stands, among the numbers that the page prints, has in its code, or sets on lines of their
own; in the experiments whose records it reads; or among the published figures, which have their sources beside them.
Formulas of nothing but numbers are worked out.
"""

import html
import math
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

from resnest_edu import PUBLISHED
from tools.notebooks import ROOT, toc_notebooks

NUMBER = r"\d+(?:\.\d+)?"
THOUSANDS = re.compile(r"(?<=\d)(?:,|_|\\,|[\u2009\u202f ])(?=\d{3}(?!\d))")
# Not part of a name such as 32x4d or ResNeSt-50, of an index, or of a size such as 3×3.
FIGURE = re.compile(rf"(?<![\w\\^{{.,×-])({NUMBER})(?![\w×]|\.\d|-\w)")
CITED = re.compile(r"\{cite|\]\(|\*source\*|the paper")
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
APART = r"```.*?```|\$\$.*?\$\$|`[^`]*`"  # code, and formulas on lines of their own
NO_FIGURES = re.compile(
    rf"{APART}|https?://\S+|<[^>]*>|95 % interval"
    rf"|(?:\d+ )?(?:{MONTHS}) 20\d\d|since 20\d\d|(?:Python|PyTorch) {NUMBER}",
    re.DOTALL,
)
UNITS = {  # what a number is multiplied by before such a word
    r"%|\\%|per cent|points?\b": (1, 100),
    r"G\b|GMACs|thousand million|GB": (1, 1e-9),
    r"M\b|million|MB": (1, 1e-6),
    r"thousand|kB|kilobytes": (1, 1e-3),
    r"ms\b|milliseconds": (1, 1e3),
    r"µs\b|microseconds": (1, 1e6),
}
FORMULA = re.compile(r"\$([^$]+)\$")
RESULT = re.compile(r"\$([^$]*=)\s*\$\s*\*\*([\d\\, .]*\d)\*\*|\$([^$]*=)\s*\*\*([\d\\, .]*\d)\*\*\$")
AS_PYTHON = {
    r"\\,|\\left|\\right|\\[bB]ig[lr]?": "",
    r"\\?%": "/100",
    r"\\cdot|\\times": "*",
    r"\^": "**",
    r"\\ln ([\d.]+)": r"math.log(\1)",
    r"\\l(ceil|floor)": r"math.\1(",
    r"\\r(ceil|floor)": ")",
    r"\\sqrt\{([^{}]*)\}": r"math.sqrt(\1)",
    r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}": r"((\1)/(\2))",
    r"\\[dt]?frac(\d)(\d)": r"(\1/\2)",
    r"\{": "(",
    r"\}": ")",
    r"(?<=[\d)])\s*(?=\(|math)": "*",
}


EXPERIMENTS = ROOT / "resnest_edu" / "book" / "experiments"
PUBLISHED_FIGURES = (EXPERIMENTS.parent / "published_figures.py").read_text(encoding="utf-8")
EXCEPTIONS = {  # by page, each with what bears it out
    "in_the_browser": {"27": "ResNeSt-50, counted in resnest", "5.4": "the same", "110": "four bytes for each"},
    "detection": {"41.9": "a thousand times the weights counted before it"},
    "notation": {"0.05": "the rule itself"},
    "questions": {"34": "the name of a network"},
}


class Figure(NamedTuple):
    page: str
    text: str
    unit: str
    sentence: str

    @property
    def digits(self) -> int:
        """Behind the point."""
        return len(self.text.partition(".")[2])


def value(side: str) -> float | None:
    """Of one side of an equation, if there is nothing but numbers in it."""
    for pattern, python in AS_PYTHON.items():
        side = re.sub(pattern, python, side)
    if not re.fullmatch(r"(?:math\.(?:sqrt|log|ceil|floor)|[\d\s.*/+()-])+", side):
        return None
    try:
        return float(eval(side.strip(), {"math": math}))
    except (SyntaxError, ValueError, OverflowError):  # not a sum, or half of one
        return None


def sums(markdown: str) -> Iterator[tuple[str, list[float]]]:
    """Formulas, and the values of those of their sides that are nothing but numbers."""
    for formula in FORMULA.findall(markdown):
        if "=" in formula:
            yield formula, [found for found in map(value, formula.split("=")) if found is not None]


def pages() -> Iterator[tuple[str, list[NotebookNode]]]:
    """Name and cells of every page but the reference."""
    for path in toc_notebooks():
        yield path.stem, nbformat.read(path, as_version=4).cells
    for name in ("index", "notation", "appendix/questions"):
        text = (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8")
        yield Path(name).name, [nbformat.v4.new_markdown_cell(text)]


def prose(cell: NotebookNode) -> str:
    """The text of a markdown cell, numbers without separators, results inside their formulas."""
    text = re.sub(r"\$\$.*?\$\$", " ", cell.source, flags=re.DOTALL)
    return THOUSANDS.sub("", RESULT.sub(r"$\1\3 \2\4$", text))


def stated(cells: list[NotebookNode]) -> set[float]:
    """The numbers of outputs, of code and of formulas on lines of their own, of experiments and published figures."""
    found = [PUBLISHED_FIGURES, *(str(published.top1) for published in PUBLISHED.values())]
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    for experiment in re.findall(r"(\w+)\.json", code):
        found.append((EXPERIMENTS / f"{experiment}.py").read_text(encoding="utf-8"))
    for cell in cells:
        if cell.cell_type == "markdown":
            found += re.findall(APART, cell.source, re.DOTALL)
            found += [formula for formula, values in sums(prose(cell)) if len(values) > 1]
            continue
        found.append(cell.source)
        for output in cell.outputs:
            texts = [output.get("text", ""), *(v for k, v in output.get("data", {}).items() if k.startswith("text"))]
            found += [re.sub(r"<[^>]*>", " ", html.unescape(text)) for text in texts]
    return {float(number) for number in re.findall(rf"{NUMBER}(?:e-?\d+)?", THOUSANDS.sub("", "\n".join(found)))}


def figures(page: str, cells: list[NotebookNode]) -> Iterator[Figure]:
    for cell in cells:
        if cell.cell_type != "markdown":
            continue
        text = prose(cell)
        for formula, values in sums(text):
            if len(values) > 1 or re.search(r"(?:^|=)[^\d=]+(?:=|$)", formula):  # worked out, or a definition
                text = text.replace(f"${formula}$", " ")
        for sentence in re.split(r"(?<=[.:;?!|])\s+(?=[^a-z\d])|\n\n|\n(?=[|-])", text):
            if not CITED.search(sentence):
                plain = NO_FIGURES.sub(" ", sentence)
                for found in FIGURE.finditer(plain):
                    if "." in found[1] or int(found[1]) > 12:
                        yield Figure(page, found[1], plain[found.end() :].lstrip(" $}\\,"), sentence.strip())


def is_borne_out(figure: Figure, numbers: set[float]) -> bool:
    wanted = float(figure.text)
    scales = next((scales for words, scales in UNITS.items() if re.match(words, figure.unit)), (1,))
    return any(math.isclose(round(number * scale, figure.digits), wanted) for number in numbers for scale in scales)


def test_sums_in_prose_hold() -> None:
    checked, wrong = 0, []
    for page, cells in pages():
        for cell in cells:
            if cell.cell_type == "markdown":
                for formula, values in sums(prose(cell)):
                    checked += len(values) > 1
                    if any(not math.isclose(one, values[0], rel_tol=0.01) for one in values[1:]):
                        wrong.append(f"{page}: {formula}: {values}")
    assert not wrong and checked > 40


def test_figures_in_prose_are_borne_out() -> None:
    missing, noticed = [], []
    chance = random.Random(0)
    for page, cells in pages():
        numbers, unborne = stated(cells), set()
        for figure in figures(page, cells):
            if not is_borne_out(figure, numbers):
                unborne.add(figure.text)
                if figure.text not in EXCEPTIONS.get(page, {}):
                    missing.append(f"{page}: {figure.text}: {figure.sentence}")
            if len(figure.text.replace(".", "").lstrip("0")) > 2:
                other = f"{float(figure.text) + chance.randint(1, 9) * 10.0**-figure.digits:.{figure.digits}f}"
                noticed.append(not is_borne_out(figure._replace(text=other), numbers))
        missing += [
            f"{page}: {text} is no exception any more" for text in EXCEPTIONS.get(page, {}) if text not in unborne
        ]
    assert not missing, "\n".join(missing)
    assert len(noticed) > 200 and sum(noticed) > 0.85 * len(
        noticed
    )  # of figures of three digits or more, each changed a little
