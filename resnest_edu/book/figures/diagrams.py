"""Diagrams: boxes joined by arrows, and orders of channels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch, Rectangle

from resnest_edu.book.figures.style import BLUE, FILLS, GREEN, GREY, ORANGE, PINK, BookFigure, new_figure


@dataclass(frozen=True)
class Box:
    """A box of a flow diagram: centre, text, fill (a key of ``FILLS``) and width; one unit is about an inch.

    Attributes:
        x: of its centre, from left to right.
        y: of its centre, upwards.
        text: what stands in it.
        fill: a key of ``FILLS``.
        width: from side to side.
    """

    x: float
    y: float
    text: str
    fill: str = "plain"
    width: float = 1.9


@dataclass(frozen=True)
class Arrow:
    """An arrow between two boxes, named by their keys: straight, or (with ``via``) out of the first box's side to that
    x, up or down, and into the second box's side.

    Attributes:
        start: the key of the box that it leaves.
        end: the key of the box that it points to.
        label: what stands beside it.
        via: the x of its upright, or None.
    """

    start: str
    end: str
    label: str = ""
    via: float | None = None


def flow_diagram(boxes: Mapping[str, Box], arrows: Sequence[Arrow]) -> BookFigure:
    """Boxes joined by arrows.

    Args:
        boxes: by the key that arrows call them.
        arrows: from box to box.
    """
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
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # a slanted arrow may pass below
            axes.text(s=arrow.label, fontsize=9, color=GREY, bbox=ground, **(above if y0 == y1 else beside))
    return figure


@dataclass(frozen=True)
class Segment:
    """Neighbouring channels of one kind in a row of :func:`channel_strips`: how many, what to write on them, and which
    split (hue) and cardinal group (shade) they belong to; None is grey, for channels that belong to no one split.

    Attributes:
        size: how many channels.
        text: what stands on them.
        split: which split they belong to, or None.
        group: which cardinal group, or None.
    """

    size: int
    text: str = ""
    split: int | None = None
    group: int | None = None


def channel_strips(rows: Mapping[str, Sequence[Segment]], follow: Sequence[int | None] = ()) -> BookFigure:
    """The channels of successive tensors as strips, one below the other, on one scale; the numbers at the ends of
    segments count channels.

    Args:
        rows: the tensor's name -> its segments, in the order of its channels.
        follow: in each row the number of a channel to mark, or None; marks in neighbouring rows are joined.
    """
    longest = max(sum(segment.size for segment in segments) for segments in rows.values())
    scale, pitch, half = 6.0 / longest, 0.9, 0.17  # inches a channel, from row to row, half of a strip's height
    figure = new_figure(6.3, pitch * len(rows))
    axes = figure.add_subplot()
    axes.set(xlim=(-0.15, 6.15), ylim=(-pitch * len(rows) + 0.55, 0.55), aspect="equal")
    axes.axis("off")
    marks: list[tuple[float, float] | None] = []
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # keeps lines out of the text
    for i, (name, segments) in enumerate(rows.items()):
        y, start = -pitch * i, 0
        end = scale * sum(segment.size for segment in segments)
        axes.text(end, y + half + 0.04, name, ha="right", va="bottom", fontsize=9.5, bbox=ground)
        axes.text(0, y - half - 0.03, "0", ha="center", va="top", fontsize=8, color=GREY)
        for segment in segments:
            hue = GREY if segment.split is None else (BLUE, ORANGE, GREEN, PINK)[segment.split % 4]
            shade = 0.22 if segment.group is None else (0.62, 0.28, 0.45, 0.14)[segment.group % 4]
            left, width = start * scale, segment.size * scale
            color = to_rgba(hue, shade)
            axes.add_patch(
                Rectangle((left, y - half), width, 2 * half, facecolor=color, edgecolor="white", linewidth=1.5)
            )
            axes.text(left + width - 0.08, y, segment.text, ha="right", va="center", fontsize=9.5)
            start += segment.size
            axes.text(
                start * scale, y - half - 0.03, str(start), ha="center", va="top", fontsize=8, color=GREY, bbox=ground
            )
        followed = follow[i] if i < len(follow) else None
        marks.append(None if followed is None else ((followed + 0.5) * scale, y))
        if followed is not None:
            thickness = min(0.6 * scale, 0.08)
            left = (followed + 0.5) * scale - thickness / 2
            axes.add_patch(Rectangle((left, y - half), thickness, 2 * half, facecolor="black"))
            axes.text(left + thickness + 0.03, y, str(followed), va="center", fontsize=10, weight="bold")
    for here, there in pairwise(marks):
        if here and there:
            axes.plot(
                (here[0], there[0]), (here[1] - half, there[1] + half), color="black", linewidth=0.9, linestyle=":"
            )
    return figure


@dataclass(frozen=True)
class MapStage:
    """One row of :func:`network_map`: what the part is called and what it emits, ``channels`` maps of ``size`` by
    ``size`` positions, or as many numbers where ``size`` is 1.

    Attributes:
        name: of the part.
        channels: how many maps it emits.
        size: positions on each side of a map.
        fill: a key of ``FILLS``.
    """

    name: str
    channels: int
    size: int
    fill: str = "plain"


def network_map(stages: Sequence[MapStage]) -> BookFigure:
    """What the parts of a network emit, from top to bottom: a block as wide as the root of its channels and as high as
    the root of its size, so that the narrowest and the widest can both be seen.

    Args:
        stages: from the input to the output.
    """
    wide = 2.0 / max(stage.channels for stage in stages) ** 0.5  # inches for the root of one channel
    high = 0.62 / max(stage.size for stage in stages) ** 0.5
    left, gap = 2.75, 0.2  # where the blocks' axis lies, right of the names; inches between blocks
    heights = [max(high * stage.size**0.5, 0.36) for stage in stages]  # a row has room for its two lines of text
    total = sum(heights) + gap * len(stages)
    figure = new_figure(4.0, total + 0.1)
    axes = figure.add_subplot()
    axes.set(xlim=(0, 4.0), ylim=(-total, 0.05), aspect="equal")
    axes.axis("off")
    y = -gap / 2
    centres = []
    for stage, height in zip(stages, heights, strict=True):
        middle = y - height / 2
        width, thick = wide * stage.channels**0.5, high * stage.size**0.5
        shape = Rectangle((left - width / 2, middle - thick / 2), width, thick, zorder=1)
        shape.set(facecolor=FILLS[stage.fill], edgecolor=GREY)
        axes.add_patch(shape)
        axes.text(0.02, middle + 0.1, stage.name, ha="left", va="center", fontsize=10, weight="bold")
        shown = f"{stage.channels} × {stage.size} × {stage.size}" if stage.size > 1 else f"{stage.channels}"
        axes.text(0.02, middle - 0.1, shown, ha="left", va="center", fontsize=10, color=GREY)
        centres.append((middle + thick / 2, middle - thick / 2))
        y -= height + gap
    for (_, above), (below, _) in pairwise(centres):
        head = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", xy=(left, below), xytext=(left, above), arrowprops=head, zorder=0)
    return figure
