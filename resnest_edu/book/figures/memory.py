"""Cost: work beside time, passes over a map as strips, and measured layers under the roofline."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.patches import Patch, Rectangle

from resnest_edu.book.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, BookFigure, new_figure

Passes = Sequence[tuple[int, int]]
"""Of each operation, how many maps it reads and how many it writes."""


def paired_bars(rows: Mapping[str, tuple[float, float]], names: tuple[str, str], *, label: str) -> BookFigure:
    """Two bars a row, each with its value beside it, and a line at one.

    Args:
        rows: what is compared -> its two values.
        names: of the two values.
        label: below the axis.
    """
    figure = new_figure(5.4, 0.75 + 0.62 * len(rows))
    axes = figure.add_subplot()
    for i, (name, color) in enumerate(zip(names, (GREY, ORANGE), strict=True)):
        places = [row + 0.36 * (i - 0.5) for row in range(len(rows))]
        bars = axes.barh(places, [pair[i] for pair in rows.values()], 0.34, color=color, alpha=0.75, label=name)
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=10.5)
    axes.axvline(1, color="black", linewidth=1, linestyle=":")
    axes.set_yticks(range(len(rows)), list(rows), fontsize=10.5)
    axes.invert_yaxis()
    axes.set_xlabel(label, fontsize=10.5)
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=10.5)
    return figure


def memory_passes(rows: Mapping[str, tuple[Passes, Passes]]) -> BookFigure:
    """Every map that is read or written as a square: a strip a form, forward on the left and backward on the right of
    a dotted line. Squares of one operation touch.

    Args:
        rows: name of the form -> its operations forward and backward.
    """
    gap, side = 0.35, 1.0  # between operations; of a square
    lengths = [max(sum(r + w + gap for r, w in row[i] if r + w) for row in rows.values()) for i in range(2)]
    start = lengths[0] + 1.2  # where backward begins
    figure = new_figure(5.2, 0.45 + 0.62 * len(rows))
    axes = figure.add_subplot()
    axes.set(xlim=(-0.2, start + lengths[1] + 0.2), ylim=(-2.9 * len(rows) + 1.1, 2.6))
    axes.axis("off")
    axes.axvline(start - 0.75, color=GREY, linewidth=1, linestyle=":")
    for i, (name, parts) in enumerate(rows.items()):
        y = -2.9 * i
        for text, passes, x in zip((name, ""), parts, (0.0, start), strict=True):
            count = sum(r + w for r, w in passes)
            axes.text(x, y + side + 0.25, f"{text}{': ' if text else ''}{count}", fontsize=10, va="bottom")
            for reads, writes in passes:
                for color in [BLUE] * reads + [ORANGE] * writes:
                    square = Rectangle((x, y), side, side, facecolor=color, alpha=0.75, edgecolor="white", linewidth=1)
                    axes.add_patch(square)
                    x += side
                x += gap if reads + writes else 0
    handles = [Patch(color=color, alpha=0.75) for color in (BLUE, ORANGE)]
    figure.legend(handles, ["a map is read", "a map is written"], loc="outside lower center", ncols=2, frameon=False)
    return figure


def roofline(dots: Mapping[str, Sequence[tuple[float, float, float]]], *, peak: float, bandwidth: float) -> BookFigure:
    """Layers as they were timed, under the two ceilings of the machine.

    Args:
        dots: kind -> operations, bytes and seconds of each of its layers.
        peak: operations a second.
        bandwidth: bytes a second.
    """
    ratios = [n / b for found in dots.values() for n, b, _ in found]
    ridge = peak / bandwidth
    ends = np.array([min(*ratios, ridge) / 3, ridge, max(*ratios, ridge) * 3])
    figure = new_figure(5.2, 4.4)
    axes = figure.add_subplot()
    axes.loglog(ends, np.minimum(peak, bandwidth * ends) / 1e9, color="black", linewidth=1.2, zorder=1)
    axes.axvline(ridge, color=GREY, linewidth=0.9, linestyle=":", zorder=0)
    looks = cycle(zip((BLUE, GREEN, PINK, GREY, ORANGE, "black"), "osD^Pv", strict=True))
    for (kind, found), (color, marker) in zip(dots.items(), looks, strict=False):
        operations, moved, seconds = np.array(found, dtype=float).T
        look: dict[str, Any] = {
            "color": color,
            "marker": marker,
            "s": 55,
            "edgecolor": "white",
            "linewidth": 0.6,
            "label": kind,
        }
        axes.scatter(operations / moved, operations / seconds / 1e9, zorder=2, **look)
    axes.set_xlabel("operations a byte", fontsize=10.5)
    axes.set_ylabel("10⁹ operations a second", fontsize=10.5)
    axes.tick_params(labelsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=10)
    return figure
