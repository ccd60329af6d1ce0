"""Sums that stand in the prose of a page, in formulas of nothing but numbers, hold to one per cent."""

import math
import re

import nbformat

from tools.notebooks import toc_notebooks

FORMULA = re.compile(r"\$([^$]*=[^$]*)\$")
AS_PYTHON = {
    r"\\,|\\left|\\right|\\[bB]ig[lr]?": "",
    r"\\?%": "/100",
    r"\\cdot|\\times": "*",
    r"\^": "**",
    r"\\ln (\d+)": r"math.log(\1)",
    r"\\sqrt\{([^{}]*)\}": r"math.sqrt(\1)",
    r"\{": "(",
    r"\}": ")",
    r"(?<=\d)\s*(?=\()": "*",
}


def value(side: str) -> float | None:
    """Of one side of an equation, if there is nothing but numbers in it."""
    for pattern, python in AS_PYTHON.items():
        side = re.sub(pattern, python, side)
    if not re.fullmatch(r"(?:math\.(?:sqrt|log)\*?|[\d\s.*/+()-])+", side):
        return None
    try:
        return float(eval(side.strip().replace("log*(", "log(").replace("sqrt*(", "sqrt("), {"math": math}))
    except (SyntaxError, ValueError, OverflowError):  # not a sum, or half of one
        return None


def test_sums_in_prose_hold() -> None:
    checked, wrong = 0, []
    for path in toc_notebooks():
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                for formula in FORMULA.findall(re.sub(r"\$\$.*?\$\$", " ", cell.source, flags=re.DOTALL)):
                    sides = [found for found in map(value, formula.split("=")) if found is not None]
                    checked += len(sides) > 1
                    if any(not math.isclose(one, sides[0], rel_tol=0.01) for one in sides[1:]):
                        wrong.append(f"{path.stem}: {formula}: {sides}")
    assert not wrong and checked > 40
