"""Figures of the book: data in, matplotlib figure out.

Every figure has an opaque light background, so that it reads the same on a light and on a dark page, and colours
that the colour-blind can tell apart (Okabe and Ito's). Matplotlib comes with the extra ``book``.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import ArrayLike
from torch import Tensor

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#5F6B76"
FILLS = {"plain": "#F2F4F7", "blue": "#D5E8F5", "orange": "#FBE3D0", "green": "#D3EFE5", "pink": "#F6E1EC"}


class BookFigure(Figure):
    """A figure that shows itself where a notebook cell ends in it, whatever matplotlib's backend."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()


def new_figure(width: float, height: float) -> BookFigure:
    """An empty figure, sizes in inches."""
    return BookFigure(figsize=(width, height), facecolor="white", layout="constrained", dpi=130)


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


def image_grid(images: Tensor | np.ndarray, titles: Sequence[str] | None = None, *, columns: int = 8) -> BookFigure:
    """Pictures, row by row, each with its title if there are any. Shape: uint8 (N, 3, H, W)."""
    rows = -(-len(images) // columns)
    figure = new_figure(1.15 * columns, (1.4 if titles else 1.15) * rows)
    for i, image in enumerate(np.asarray(images)):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.imshow(image.transpose(1, 2, 0), interpolation="nearest")
        axes.axis("off")
        if titles:
            axes.set_title(titles[i], fontsize=10)
    return figure


def heat_maps(maps: Mapping[str, Tensor | np.ndarray]) -> BookFigure:
    """Maps (H, W) of values of at least zero, side by side on one logarithmic scale; zero is white."""
    arrays = {name: np.asarray(values) for name, values in maps.items()}
    positive = np.concatenate([values[values > 0] for values in arrays.values()])
    scale = LogNorm(positive.min(), positive.max())
    figure = new_figure(3.1 * len(maps) + 0.6, 3.1)
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    for axes, (name, values) in zip(panels, arrays.items(), strict=True):
        picture = axes.imshow(np.ma.masked_equal(values, 0), cmap="viridis_r", norm=scale)
        axes.set_title(name, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.colorbar(picture, ax=list(panels), shrink=0.85)
    return figure


def mean_and_spread(groups: Mapping[str, ArrayLike], *, label: str) -> BookFigure:
    """One row a group: every run a dot, the mean a bar, the standard deviation a band."""
    figure = new_figure(7, 0.7 + 0.5 * len(groups))
    axes = figure.add_subplot()
    for row, (values, color) in enumerate(zip(groups.values(), (GREY, BLUE, ORANGE, GREEN, PINK), strict=False)):
        runs = np.asarray(values, dtype=float)
        mean, deviation = runs.mean(), runs.std(ddof=1)
        axes.fill_betweenx([row - 0.3, row + 0.3], mean - deviation, mean + deviation, color=color, alpha=0.18, lw=0)
        axes.plot([mean, mean], [row - 0.3, row + 0.3], color=color, linewidth=2)
        apart = np.linspace(-0.18, 0.18, len(runs))  # so that equal runs do not hide one another
        axes.plot(runs, row + apart, "o", color=color, markersize=5, alpha=0.8)
    axes.set_yticks(range(len(groups)), list(groups))
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    return figure


def curve(x: ArrayLike, y: ArrayLike, x_label: str, y_label: str) -> BookFigure:
    """One line."""
    figure = new_figure(6, 2.6)
    axes = figure.add_subplot()
    axes.plot(x, y, color=BLUE)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure


def training_curves(history: Sequence) -> BookFigure:
    """Loss and accuracy of every epoch, from the list of :class:`resnest_edu.training.EpochMetrics`."""
    epochs = [metrics.epoch for metrics in history]
    figure = new_figure(8, 2.9)
    panels = [("loss", "loss (nats)", 1), ("accuracy", "accuracy (%)", 100)]
    for i, (quantity, label, scale) in enumerate(panels):
        axes = figure.add_subplot(1, 2, i + 1)
        for split, color, marker in (("train", ORANGE, "s"), ("test", BLUE, "o")):
            values = [scale * getattr(metrics, f"{split}_{quantity}") for metrics in history]
            axes.plot(epochs, values, marker=marker, color=color, label=split)
        axes.set(xlabel="epoch", ylabel=label)
        axes.set_xticks(epochs)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def confusion_matrix(counts: ArrayLike, classes: Sequence[str]) -> BookFigure:
    """How often each class (rows) was taken for each class (columns). Shape: (classes, classes) of counts."""
    counts = np.asarray(counts)
    shares = counts / counts.sum(1, keepdims=True)
    figure = new_figure(5.2, 4.6)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        if counts[row, column]:
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=9)
    axes.set_xticks(range(len(classes)), classes, rotation=40, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def attention_over_splits(attention: Mapping[str, Mapping[str, ArrayLike]]) -> BookFigure:
    """The first split's weight in every channel, sorted: a panel a layer, a line an image.

    Args:
        attention: layer name -> image name -> weights of the first split, shape (C,).
    """
    figure = new_figure(2.7 * len(attention), 2.7)
    first = None
    for i, (layer, images) in enumerate(attention.items()):
        axes = first = figure.add_subplot(1, len(attention), i + 1, sharey=first)
        axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
        for (name, weights), color in zip(images.items(), (ORANGE, BLUE, GREEN, PINK), strict=False):
            weights = np.sort(np.asarray(weights))
            axes.plot((np.arange(len(weights)) + 0.5) / len(weights), weights, color=color, label=name)
        axes.set(title=layer, xlabel="channels, sorted (share)", ylim=(-0.02, 1.02))
        axes.spines[["top", "right"]].set_visible(False)
        if i == 0:
            axes.set_ylabel("attention on the first split")
            axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure
