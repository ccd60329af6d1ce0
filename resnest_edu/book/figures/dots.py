"""Dots with intervals: what runs gave under a few settings, side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from resnest_edu.book.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, BookFigure, new_figure
from resnest_edu.book.intervals import mean_interval

_LOOKS = (BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PINK, "v"), (GREY, "D")


def dots_by_setting(
    panels: Mapping[str, Mapping[str, ArrayLike]],
    settings: Sequence[str],
    *,
    lines: Mapping[str, float] | None = None,
    legend_columns: int = 3,
) -> BookFigure:
    """A panel a measure, one below the other; in it at every setting a mark a group: the mean on its 95 % interval, and
    every run a small dot.

    Args:
        panels: title -> group -> runs, shape (runs, settings); a group has the same colour in all panels.
        settings: what the columns of the runs are.
        lines: title -> where to draw a dotted line across this panel, such as what chance would give.
        legend_columns: names in a row of the legend.
    """
    names = list(dict.fromkeys(name for groups in panels.values() for name in groups))
    looks = dict(zip(names, _LOOKS, strict=False))
    figure = new_figure(5, 0.35 * -(-len(names) // legend_columns) + 1.6 * len(panels))
    axes_of = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    handles = {}
    for axes, (title, groups) in zip(axes_of, panels.items(), strict=True):
        if lines and title in lines:
            axes.axhline(lines[title], color=GREY, linewidth=1, linestyle=":", zorder=0)
        width = 0.8 / len(groups)
        for j, (name, values) in enumerate(groups.items()):
            color, marker = looks[name]
            for i, column in enumerate(np.asarray(values, dtype=float).T):
                place = i + (j - (len(groups) - 1) / 2) * width
                found = mean_interval(column.tolist())
                apart = place + np.linspace(-0.3, 0.3, len(column)) * width
                axes.plot(apart, column, ".", color=color, markersize=4, alpha=0.5)
                axes.plot([place, place], [found.low, found.high], color=color, linewidth=2.5)
                (handles[name],) = axes.plot(
                    [place], [found.mean], marker, color=color, markersize=7, markeredgecolor="white"
                )
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_ylim(bottom=0 if axes.dataLim.y0 >= 0 else None)
        axes.set_xticks(range(len(settings)), settings)
        axes.set_xlim(-0.5, len(settings) - 0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    figure.legend(
        handles.values(),
        handles,
        loc="outside upper left",
        ncols=legend_columns,
        frameon=False,
        handletextpad=0.2,
        columnspacing=1,
    )
    return figure
