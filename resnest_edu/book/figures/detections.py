"""Figures of detection and segmentation: boxes, masks and label maps on their pictures, and how good they are.

Legend: N pictures, n objects in one of them, C channels, H height, W width. Boxes are x1, y1, x2, y2 in pixels.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from resnest_edu.book.figures.style import BLUE, GREEN, GREY, LINE, ORANGE, PINK, BookFigure, new_figure

IGNORED = 255  # the label of pixels that count neither way
_GROUND = "#ECEFF3"
_COLORS = (ORANGE, "#56B4E9", GREEN, "#F0E442", BLUE, PINK, "#E69F00", "black")  # Okabe and Ito's eight
_MARKS = ("#56B4E9", ORANGE, "#F0E442", PINK, GREEN)  # those that stand out from pictures


def _outline(axes: Axes, box: ArrayLike, color: str, **line: Any) -> None:
    """The box on a darker line, so that it is seen on any ground; pixel 0 of the picture reaches from -0.5 to 0.5."""
    x1, y1, x2, y2 = np.asarray(box, dtype=float) - 0.5
    under = withStroke(linewidth=line["linewidth"] + 1.4, foreground="black")
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, path_effects=[under], **line))


def _overlay(axes: Axes, mask: ArrayLike, color: str) -> None:
    """The pixels of a mask (H, W), those of at least 0.5, in a translucent colour, with a line around them."""
    inside = np.asarray(mask) >= 0.5
    axes.imshow(np.where(inside[..., None], to_rgba(color, 0.45), 0), interpolation="nearest")
    if 0 < inside.sum() < inside.size:
        axes.contour(inside, levels=[0.5], colors=[color], linewidths=1)


def scenes_with_boxes(
    images: Tensor | np.ndarray,
    targets: Sequence[Mapping[str, Any]],
    predictions: Sequence[Mapping[str, Any]] | None = None,
    *,
    classes: Sequence[str],
    threshold: float = 0.5,
    columns: int = 4,
) -> BookFigure:
    """Pictures with their objects: the truth in dashed white, what was predicted in solid colours, with its score.

    Masks are drawn, where there are any, as translucent colours: those of the predictions, or else of the truth.

    Args:
        images: uint8 (N, 3, H, W).
        targets: for each picture ``boxes`` (n, 4), ``labels`` (n,) from 1 on, and perhaps ``masks`` (n, H, W).
        predictions: the same with ``scores`` (n,), as torchvision's detectors return it; their masks are (n, 1, H, W)
            probabilities.
        classes: the name of label 1, of label 2, and so on.
        threshold: the least score that is drawn.
        columns: pictures in a row.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(2.3 * columns, 2.35 * rows)
    for i, image in enumerate(np.asarray(images)):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.imshow(image.transpose(1, 2, 0), interpolation="nearest")
        axes.axis("off")
        for box in targets[i]["boxes"]:
            _outline(axes, box, "white", linewidth=1.2, linestyle="--")
        shown = targets[i] if predictions is None else predictions[i]
        boxes, labels = np.asarray(shown["boxes"]), np.asarray(shown["labels"])
        scores = np.asarray(shown["scores"]) if predictions is not None else np.full(len(boxes), np.inf)
        colors = cycle(_MARKS)
        for k in np.flatnonzero(scores >= threshold):
            color, text = next(colors), classes[labels[k] - 1]
            if "masks" in shown:
                _overlay(axes, np.asarray(shown["masks"])[k].reshape(image.shape[1:]), color)
            if predictions is not None:
                _outline(axes, boxes[k], color, linewidth=1.8)
                text += f" {scores[k]:.2f}"
            ground = {"facecolor": "white" if predictions is None else color, "edgecolor": "none", "pad": 1}
            left = boxes[k, 0] < 0.6 * image.shape[2]  # or else the text would leave the picture
            x = boxes[k, 0] if left else min(boxes[k, 2], image.shape[2])
            y = max(boxes[k, 1], 0.06 * image.shape[1])
            side = "left" if left else "right"
            axes.text(x - 0.5, y - 0.5, text, fontsize=7.5, ha=side, va="bottom", bbox=ground, clip_on=True)
        axes.set(xlim=(-0.5, image.shape[2] - 0.5), ylim=(image.shape[1] - 0.5, -0.5))
    return figure


def label_maps(
    images: Tensor | np.ndarray, maps: Mapping[str, Tensor | np.ndarray], classes: Sequence[str]
) -> BookFigure:
    """A row a picture: the picture, and beside it each of its maps of labels. Ignored pixels (255) are striped.

    Args:
        images: uint8 (N, 3, H, W).
        maps: title, such as truth or prediction -> labels, integers (N, H, W).
        classes: the name of label 0, which is the background, of label 1, and so on. If there are more than nine, the
            labels that occur get the colours.

    Raises:
        ValueError: more than eight labels besides the background would need a colour.
    """
    arrays = {title: np.asarray(labels) for title, labels in maps.items()}
    found = {int(label) for labels in arrays.values() for label in np.unique(labels)}
    shown = range(1, len(classes)) if len(classes) <= 1 + len(_COLORS) else sorted(found - {0, IGNORED})
    if len(shown) > len(_COLORS):
        raise ValueError(f"maps must hold at most {len(_COLORS)} labels besides the background, not {len(shown)}")
    colors = {0: _GROUND, **dict(zip(shown, _COLORS, strict=False))}
    palette = np.ones((IGNORED + 1, 3))
    for label, color in colors.items():
        palette[label] = to_rgb(color)

    def paint(labels: NDArray) -> NDArray:
        down, across = np.indices(labels.shape)
        stripes = (down + across) // max(2, len(labels) // 32) % 2 == 0
        return np.where(((labels == IGNORED) & stripes)[..., None], to_rgb(GREY), palette[labels])

    handles = [Patch(facecolor=color, edgecolor=GREY, label=classes[label]) for label, color in colors.items()]
    if IGNORED in found:
        handles.append(Patch(facecolor="white", edgecolor=GREY, hatch="////", label="ignored"))
    figure = new_figure(1.7 * (1 + len(arrays)), 1.7 * len(images) + 0.3 + 0.25 * -(-len(handles) // 3))
    panels = figure.subplots(len(images), 1 + len(arrays), squeeze=False)
    for i, (row, image) in enumerate(zip(panels, np.asarray(images), strict=True)):
        pictures = {"image": image.transpose(1, 2, 0)} | {title: paint(labels[i]) for title, labels in arrays.items()}
        for axes, (title, picture) in zip(row, pictures.items(), strict=True):
            axes.imshow(picture, interpolation="nearest")
            axes.set(xticks=[], yticks=[], title=title if i == 0 else "")
            axes.spines[:].set_color(LINE)
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure
