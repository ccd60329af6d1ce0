"""Diagrams: boxes joined by arrows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.patches import FancyBboxPatch

from resnest_edu.figures.base import FILLS, GREY, BookFigure, new_figure


@dataclass(frozen=True)
class Box:
    """A box of a flow diagram: centre, text, fill (a key of ``FILLS``) and width; one unit is about an inch."""

    x: float
    y: float
    text: str
    fill: str = "plain"
    width: float = 1.9


@dataclass(frozen=True)
class Arrow:
    """An arrow between two boxes, named by their keys: straight, or (with ``via``) out of the first box's side to that
    x, up or down, and into the second box's side."""

    start: str
    end: str
    label: str = ""
    via: float | None = None


def flow_diagram(boxes: Mapping[str, Box], arrows: Sequence[Arrow]) -> BookFigure:
    """Boxes joined by arrows."""
    half = 0.21  # of a box's height
    xs = [b.x + side * b.width / 2 for b in boxes.values() for side in (-1, 1)]
    xs += [arrow.via for arrow in arrows if arrow.via is not None]
    ys = [b.y + side * half for b in boxes.values() for side in (-1, 1)]
    figure = new_figure(max(xs) - min(xs) + 0.4, max(ys) - min(ys) + 0.3)
    axes = figure.add_subplot()
    axes.set(xlim=(min(xs) - 0.2, max(xs) + 0.2), ylim=(min(ys) - 0.15, max(ys) + 0.15), aspect="equal")
    axes.axis("off")
    for box in boxes.values():
        corner = (box.x - box.width / 2, box.y - half)
        shape = FancyBboxPatch(corner, box.width, 2 * half, "round,pad=0,rounding_size=0.09")
        shape.set(facecolor=FILLS[box.fill], edgecolor=GREY)
        axes.add_patch(shape)
        axes.text(box.x, box.y, box.text, ha="center", va="center", fontsize=9)
    for arrow in arrows:
        a, b = boxes[arrow.start], boxes[arrow.end]
        if arrow.via is not None:
            out, into = (np.sign(arrow.via - box.x) * box.width / 2 for box in (a, b))
            corners = [(a.x + out, a.y), (arrow.via, a.y), (arrow.via, b.y), (b.x + into, b.y)]
        elif abs(a.y - b.y) < 2 * half:
            side = np.sign(b.x - a.x)
            corners = [(a.x + side * a.width / 2, a.y), (b.x - side * b.width / 2, b.y)]
        else:
            side = np.sign(b.y - a.y)
            corners = [(a.x, a.y + side * half), (b.x, b.y - side * half)]
        axes.plot(*zip(*corners[:-1], corners[-1], strict=True), color=GREY, linewidth=1, zorder=0)
        head = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", xy=corners[-1], xytext=corners[-2], arrowprops=head)
        if arrow.label:
            (x0, y0), (x1, y1) = corners[-2:]
            beside = {"ha": "left", "va": "center", "x": (x0 + x1) / 2 + 0.07, "y": (y0 + y1) / 2}
            above = {"ha": "center", "va": "bottom", "x": (x0 + x1) / 2, "y": y0 + 0.05}
            axes.text(s=arrow.label, fontsize=9, color=GREY, **(above if y0 == y1 else beside))
    return figure
