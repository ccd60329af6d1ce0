"""How channels divide themselves between splits: split 1 in blue, the others after it."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from resnest_edu.book.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, BookFigure, new_figure

_COLORS = BLUE, ORANGE, GREEN, PINK


def divided_channel(pictures: ArrayLike, weights: ArrayLike, titles: Sequence[str]) -> BookFigure:
    """One channel on several pictures: beside each a bar, which the splits share as their weights say.

    Args:
        pictures: uint8 (N, 3, H, W).
        weights: of the splits, shape (N, R); each row sums to one.
        titles: what to write over each bar.
    """
    shown, shared = np.asarray(pictures), np.asarray(weights, dtype=float)
    figure = new_figure(5, 1.15 * len(shown))
    axes_of = figure.subplots(len(shown), 2, squeeze=False, width_ratios=(1, 4))
    for (left, right), picture, row, title in zip(axes_of, shown, shared, titles, strict=True):
        _picture(left, picture)
        start = 0.0
        for r, (share, color) in enumerate(zip(row, _COLORS, strict=False)):
            right.barh(0, share, left=start, height=0.7, color=color, alpha=0.75)
            right.text(start + share / 2, 0, f"split {r + 1}: {share:.1f}", ha="center", va="center", fontsize=10)
            start += share
        right.axvline(0.5, color="black", linewidth=1, linestyle=":")
        right.set(xlim=(0, 1), ylim=(-0.6, 0.6))
        right.axis("off")
        right.set_title(title, fontsize=10, loc="left")
    return figure


def divided_channels(
    rows: Mapping[str, ArrayLike], pictures: Mapping[str, ArrayLike] | None = None, *, label: str = "channel"
) -> BookFigure:
    """All channels of a layer, a row a name: a column a channel, which the splits share, the first from below.

    Args:
        rows: name -> weights, shape (R, C); each column sums to one.
        pictures: name -> uint8 (3, H, W), for the rows that have one.
        label: what a column is.
    """
    figure = new_figure(5, 0.3 + 0.62 * len(rows))
    axes_of = figure.subplots(len(rows), 2, squeeze=False, width_ratios=(1, 6))
    for (left, right), (name, weights) in zip(axes_of, rows.items(), strict=True):
        if pictures and name in pictures:
            _picture(left, np.asarray(pictures[name]))
        left.axis("off")
        bottom = np.zeros(np.shape(weights)[1])
        for split, color in zip(np.asarray(weights, dtype=float), _COLORS, strict=False):
            right.bar(np.arange(len(split)), split, bottom=bottom, width=0.9, color=color, alpha=0.75)
            bottom += split
        right.axhline(0.5, color="black", linewidth=1, linestyle=":")
        right.set(xlim=(-0.6, len(bottom) - 0.4), ylim=(0, 1), xticks=[], yticks=[])
        right.spines[:].set_visible(False)
        right.set_title(name, fontsize=10, loc="left", pad=2)
    axes_of[-1, 1].set_xlabel(label, color=GREY)
    return figure


def _picture(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture.transpose(1, 2, 0), interpolation="nearest")
    axes.axis("off")
