"""Pictures: what can be seen, pixel by pixel."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LogNorm
from torch import Tensor

from resnest_edu.book.figures.style import LINE, BookFigure, new_figure


def image_grid(images: Tensor | np.ndarray, titles: Sequence[str] | None = None, *, columns: int = 4) -> BookFigure:
    """Pictures, row by row, each with its title if there are any. Shape: uint8 (N, 3, H, W).

    Args:
        images: uint8 (N, 3, H, W).
        titles: one for each, if any.
        columns: pictures in a row.
    """
    rows = -(-len(images) // columns)
    lines = max((title.count("\n") + 1 for title in titles or ()), default=0)
    figure = new_figure(1.15 * columns, (1.15 + 0.25 * lines) * rows)
    for i, image in enumerate(np.asarray(images)):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.imshow(image.transpose(1, 2, 0), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(LINE)
        if titles:
            axes.set_title(titles[i], fontsize=10)
    return figure


def heat_maps(maps: Mapping[str, Tensor | np.ndarray]) -> BookFigure:
    """Maps (H, W) of values of at least zero, side by side on one logarithmic scale; zero is white.

    Args:
        maps: title -> values (H, W), not all of them zero.
    """
    arrays = {name: np.asarray(values) for name, values in maps.items()}
    positive = np.concatenate([values[values > 0] for values in arrays.values()])
    scale = LogNorm(positive.min(), positive.max())
    tallest = max(len(values) / values.shape[1] for values in arrays.values())
    figure = new_figure(2.1 * len(maps) + 0.6, 2 * tallest + 0.35)
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    for axes, (name, values) in zip(panels, arrays.items(), strict=True):
        picture = axes.imshow(np.ma.masked_equal(values, 0), cmap="viridis_r", norm=scale)
        axes.set_title(name, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.colorbar(picture, ax=list(panels), shrink=0.85)
    return figure


def cell_maps(maps: Mapping[str, Tensor | np.ndarray], *, columns: int = 3, numbers: bool = False) -> BookFigure:
    """Small maps (H, W) of values of at least zero with a line around every cell, each on a scale of its own: zero is
    white, and the larger the darker.

    Args:
        maps: title -> values.
        columns: panels in a row.
        numbers: write the value into every cell that is not zero.
    """
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    side = min(2.2, 5.2 / columns)
    tallest = max(len(values) / np.shape(values)[1] for values in maps.values())
    figure = new_figure(side * columns, (side * tallest + 0.3) * rows)
    for i, (name, values) in enumerate((name, np.asarray(values)) for name, values in maps.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        shown = np.ma.masked_equal(values, 0)
        # The least of the colours for a positive value is far enough from white to be seen.
        scale = {"vmin": -0.45 * values.max(), "vmax": 2.2 * values.max()}
        axes.pcolormesh(shown, cmap="Blues", edgecolors=LINE, linewidth=0.6, **scale)
        axes.set(xlim=(0, values.shape[1]), ylim=(values.shape[0], 0), aspect="equal", xticks=[], yticks=[])
        axes.spines[:].set_color(LINE)
        axes.set_title(name, fontsize=11)
        if numbers:
            for (row, column), value in np.ndenumerate(values):
                if value:
                    axes.text(column + 0.5, row + 0.5, f"{value:g}", ha="center", va="center", fontsize=9)
    return figure
