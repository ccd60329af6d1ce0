"""Whole machines: a detector and a segmenter on the stages of a backbone, each part with the shape of its output."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from matplotlib.patches import FancyBboxPatch

from resnest_edu.book.figures.diagrams import Arrow, Box, flow_diagram
from resnest_edu.book.figures.style import GREY, BookFigure

Shape = tuple[int, int, int]
_PITCH = 0.62  # from row to row


def detector_map(stages: Mapping[str, Shape], anchors: int, *, classes: int = 81, channels: int = 256) -> BookFigure:
    """Mask R-CNN on a feature pyramid: stages and levels upwards, then from box to box down to the detections.

    Args:
        stages: name, a C and a number, finest first -> channels, height and width of its output.
        anchors: how many boxes the proposal network looks at.
        classes: what the box head tells apart, the background among them.
        channels: of every level.
    """
    boxes = {"image": Box(0.6, 0, "image", width=1.2)}
    arrows, levels, below = [], [], "image"
    for row, (name, (wide, *size)) in enumerate(stages.items(), start=1):
        y, level, total = row * _PITCH, name.replace("C", "P"), f"+{name}"
        boxes[name] = Box(0.6, y, _shaped(f"{name}\n", wide, *size), "blue", 1.2)
        boxes[total] = Box(1.56, y, "+", "orange", 0.26)
        boxes[level] = Box(2.49, y, _shaped(f"{level}\n", channels, *size), "green", 1.15)
        arrows += [Arrow(below, name), Arrow(name, total), Arrow(total, level)]
        if row > 1:
            arrows.append(Arrow(total, f"+{below}", "×2"))
        levels.append(level)
        below = name
    coarse = [-(-side // 2) for side in stages[below][1:]]
    top = len(stages) + 1
    boxes[f"P{top + 1}"] = Box(2.49, top * _PITCH, _shaped(f"P{top + 1}\n", channels, *coarse), "green", 1.15)
    arrows.append(Arrow(levels[-1], f"P{top + 1}"))
    levels.append(f"P{top + 1}")
    steps = {
        "propose": (f"proposal network\n{anchors:,} anchors", "pink"),
        "some": ("NMS\n1000 proposals", "plain"),
        "crop": (f"RoIAlign\n1000×{channels}×7×7", "orange"),
        "head": (f"box head\n{classes} classes, boxes", "pink"),
        "kept": ("NMS\n100 boxes at most", "plain"),
        "masks": ("mask head\n28×28 a box", "pink"),
    }
    for row, (key, (text, fill)) in enumerate(steps.items()):
        boxes[key] = Box(4.18, (top - row) * _PITCH, text, fill, 1.5)
    keys = list(steps)
    arrows += [Arrow(one, other) for one, other in pairwise(keys)]
    return _framed(boxes, arrows, levels, [(None, key) for key in ("propose", "crop", "masks")])


def segmenter_map(stages: Mapping[str, Shape], rates: Sequence[int], *, classes: int, width: int = 256) -> BookFigure:
    """DeepLabV3: stages downwards, five looks at the last of them side by side, and down to a class for every pixel.

    Args:
        stages: name -> channels, height and width, from the image to the last stage.
        rates: of the three 3×3 convolutions.
        classes: what a pixel can be.
        width: channels of every look.
    """
    boxes, arrows, last = {}, [], ""
    top = _PITCH * (len(stages) - 1)
    for row, (name, shape) in enumerate(stages.items()):
        fill = "blue" if row else "plain"
        boxes[name] = Box(0.68, top - row * _PITCH, _shaped(f"{name}\n", *shape), fill, 1.36)
        if last:
            arrows.append(Arrow(last, name))
        last = name
    looks = ["1×1 conv", *(f"3×3, rate {rate}" for rate in rates), "mean, 1×1"]
    for row, text in enumerate(looks):
        boxes[text] = Box(2.4, top - row * top / (len(looks) - 1), text, "orange", 1.16)
    size, full = stages[last][1:], next(iter(stages.values()))[1:]
    steps = {
        _shaped("side by side\n", len(looks) * width, *size): "plain",
        _shaped("1×1 conv\n", width, *size): "green",
        _shaped("3×3 conv\n", width, *size): "green",
        _shaped("1×1 conv\n", classes, *size): "green",
        _shaped("interpolation\n", classes, *full): "plain",
    }
    for row, (text, fill) in enumerate(steps.items()):
        boxes[text] = Box(4.1, top - row * top / (len(steps) - 1), text, fill, 1.36)
    keys = list(steps)
    arrows += [Arrow(one, other) for one, other in pairwise(keys)]
    return _framed(boxes, arrows, looks, [(last, None), (None, keys[0])])


def _shaped(name: str, *shape: int) -> str:
    return name + "×".join(map(str, shape))


def _framed(
    boxes: Mapping[str, Box],
    arrows: Sequence[Arrow],
    framed: Sequence[str],
    links: Sequence[tuple[str | None, str | None]],
) -> BookFigure:
    """A flow diagram with a frame around some boxes, all in one column; None is the frame as an end of an arrow."""
    figure = flow_diagram(boxes, arrows)
    (axes,) = figure.axes
    for text in axes.texts:
        text.set_fontsize(9.5)
    inside = [boxes[key] for key in framed]
    left = min(box.x - box.width / 2 for box in inside) - 0.07
    right = max(box.x + box.width / 2 for box in inside) + 0.07
    low, high = min(box.y for box in inside) - 0.28, max(box.y for box in inside) + 0.28
    frame = FancyBboxPatch((left, low), right - left, high - low, "round,pad=0,rounding_size=0.09", zorder=0)
    frame.set(facecolor="none", edgecolor=GREY, linestyle="--")
    axes.add_patch(frame)
    head = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0}
    for start, end in links:
        box = boxes[start or end or ""]
        tip, tail = (box.x - box.width / 2, box.y), (right, box.y)
        if start:
            tip, tail = (left, box.y), (box.x + box.width / 2, box.y)
        elif box.y < low:  # from below the frame, round a corner
            tail = ((left + right) / 2, box.y)
            axes.plot([tail[0]] * 2, [low, box.y], color=GREY, linewidth=1)
        axes.annotate("", xy=tip, xytext=tail, arrowprops=head)
    return figure
