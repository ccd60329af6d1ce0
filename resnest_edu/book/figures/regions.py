"""Boxes on their grids: the anchors of a position, and what RoIAlign reads between the positions of a map.

Legend: n boxes x1, y1, x2, y2, H height, W width of a map.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.patches import Patch, Rectangle
from numpy.typing import ArrayLike

from resnest_edu.book.figures.style import BLUE, GREEN, GREY, LINE, ORANGE, PINK, BookFigure, new_figure


def anchors_by_level(levels: Mapping[str, ArrayLike], size: tuple[int, int]) -> BookFigure:
    """The anchors of one position of every level over the outline of an image.

    Args:
        levels: name -> boxes (n, 4) in pixels.
        size: height and width of the image.
    """
    height, width = size
    figure = new_figure(3.5, 3.5 * height / width + 0.3)
    axes = figure.add_subplot()
    axes.add_patch(Rectangle((0, 0), width, height, facecolor="#F2F4F7", edgecolor=GREY))
    colors = dict(zip(levels, cycle((ORANGE, GREEN, BLUE, PINK, "black")), strict=False))
    for name, boxes in levels.items():
        for x1, y1, x2, y2 in np.asarray(boxes, dtype=float):
            shape = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colors[name], linewidth=1.6)
            axes.add_patch(shape)
    axes.set(xlim=(-4, width + 4), ylim=(height + 4, -4), aspect="equal")
    axes.axis("off")
    handles = [Patch(facecolor=color, label=name) for name, color in colors.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=10, handlelength=1)
    return figure


def sampled_map(
    values: ArrayLike, box: Sequence[float], samples: Mapping[tuple[float, float], float], *, bins: int = 2
) -> BookFigure:
    """A map as numbers at its positions, a box over it with its bins, and what is read in each.

    Args:
        values: (H, W), the numbers of the map.
        box: x1, y1, x2, y2 in positions of the map.
        samples: x and y of a point -> what is read there.
        bins: in each direction.
    """
    plane = np.asarray(values)
    high, wide = plane.shape
    figure = new_figure(0.7 * wide, 0.7 * high)
    axes = figure.add_subplot()
    for line in range(wide):
        axes.plot([line, line], [-0.4, high - 0.6], color="#DDE2E8", linewidth=1, zorder=0)
    for line in range(high):
        axes.plot([-0.4, wide - 0.6], [line, line], color="#DDE2E8", linewidth=1, zorder=0)
    ground = {"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": LINE}
    for (row, column), value in np.ndenumerate(plane):
        axes.text(column, row, f"{value:g}", ha="center", va="center", fontsize=11, bbox=ground)
    x1, y1, x2, y2 = box
    for i in range(bins):
        for j in range(bins):
            corner = (x1 + j * (x2 - x1) / bins, y1 + i * (y2 - y1) / bins)
            cell = Rectangle(corner, (x2 - x1) / bins, (y2 - y1) / bins, fill=False, edgecolor=BLUE, linewidth=1)
            axes.add_patch(cell)
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=BLUE, linewidth=2.2))
    for (x, y), value in samples.items():
        axes.plot([x], [y], "o", color=ORANGE, markersize=6, zorder=4)
        axes.text(x + 0.09, y, f"{value:g}", ha="left", va="center", fontsize=11, color=ORANGE, weight="bold", zorder=4)
    axes.set(xlim=(-0.45, wide - 0.55), ylim=(high - 0.55, -0.45), aspect="equal")
    axes.axis("off")
    return figure
