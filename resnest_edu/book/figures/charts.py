"""Charts: numbers, with their spread."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from resnest_edu.book.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, BookFigure, new_figure
from resnest_edu.book.intervals import mean_interval


def mean_and_spread(groups: Mapping[str, ArrayLike], *, label: str) -> BookFigure:
    """One row a group: every run a dot, the mean a bar, the standard deviation a band.

    Args:
        groups: name -> one number a run, two runs or more.
    """
    figure = new_figure(5, 0.55 + 0.4 * len(groups))
    axes = figure.add_subplot()
    for row, (values, color) in enumerate(zip(groups.values(), cycle((GREY, BLUE, ORANGE, GREEN, PINK)), strict=False)):
        runs = np.asarray(values, dtype=float)
        mean, deviation = runs.mean(), runs.std(ddof=1)
        axes.fill_betweenx([row - 0.3, row + 0.3], mean - deviation, mean + deviation, color=color, alpha=0.18, lw=0)
        axes.plot([mean, mean], [row - 0.3, row + 0.3], color=color, linewidth=2)
        apart = np.linspace(-0.18, 0.18, len(runs))  # so that equal runs do not hide one another
        axes.plot(runs, row + apart, "o", color=color, markersize=4, alpha=0.8)
    axes.set_yticks(range(len(groups)), list(groups))
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    return figure


def mean_and_interval(groups: Mapping[str, ArrayLike], *, label: str, line: float | None = None) -> BookFigure:
    """One row a group, in the order given: every run a dot, the mean a diamond on its 95 % interval.

    Args:
        groups: name -> one number a run, two runs or more.
        line: where to draw a dotted upright, such as zero under differences, or the mean of what all are compared with.
    """
    return dots_by_row({"": groups}, label=label, line=line)


def dots_by_row(panels: Mapping[str, Mapping[str, ArrayLike]], *, label: str, line: float | None = None) -> BookFigure:
    """:func:`mean_and_interval` for several measures: a panel each, one below the other, with a scale of its own.

    Args:
        panels: title -> name -> one number a run, two runs or more.
        label: what the numbers are.
        line: where to draw a dotted upright in all of them.
    """
    rows = [len(groups) for groups in panels.values()]
    titles = sum(map(bool, panels))
    figure = new_figure(5, 0.55 + 0.3 * titles + 0.3 * sum(rows))
    axes_of = figure.subplots(len(rows), 1, squeeze=False, height_ratios=rows)[:, 0]
    for axes, (title, groups) in zip(axes_of, panels.items(), strict=True):
        if line is not None:
            axes.axvline(line, color=GREY, linewidth=1, linestyle=":", zorder=0)
        colors = cycle((GREY, BLUE, ORANGE, GREEN, PINK))
        for row, (values, color) in enumerate(zip(groups.values(), colors, strict=False)):
            runs = np.asarray(values, dtype=float).tolist()
            interval = mean_interval(runs)
            axes.plot([interval.low, interval.high], [row, row], color="black", linewidth=2, solid_capstyle="butt")
            axes.plot([interval.mean], [row], "D", color="black", markersize=6, zorder=3)
            apart = np.linspace(-0.25, 0.25, len(runs))  # so that equal runs do not hide one another
            axes.plot(runs, row + apart, "o", color=color, markersize=4, alpha=0.7)
        axes.set_yticks(range(len(groups)), list(groups))
        axes.set_ylim(len(groups) - 0.5, -0.5)  # the first on top
        axes.set_title(title, fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.3)
    axes_of[-1].set_xlabel(label)
    return figure


def cost_and_quality(
    groups: Mapping[str, tuple[float, ArrayLike]], *, cost_label: str, quality_label: str
) -> BookFigure:
    """One mark a group: what it costs to the right, the mean of its runs upwards, with the 95 % interval as a line."""
    figure = new_figure(5.3, 3.1)
    axes = figure.add_subplot()
    looks = zip(cycle((GREY, BLUE, ORANGE, GREEN, PINK)), cycle("osD^vPX"), strict=False)
    for (name, (cost, values)), (color, marker) in zip(groups.items(), looks, strict=False):
        interval = mean_interval(np.asarray(values, dtype=float).tolist())
        axes.plot([cost, cost], [interval.low, interval.high], color=color, linewidth=1.5, alpha=0.7)
        axes.plot([cost], [interval.mean], marker, color=color, markersize=8, linestyle="", label=name)
    axes.set(xlabel=cost_label, ylabel=quality_label)
    axes.margins(x=0.08)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", frameon=False)
    return figure


def lines_with_band(
    x: ArrayLike,
    panels: Mapping[str, Mapping[str, ArrayLike]],
    *,
    x_label: str,
    y_label: str,
    deviations: float = 1.0,
) -> BookFigure:
    """A panel a layer, in it a line a group: the mean of its runs, a band around it, every run a thin line.

    Args:
        x: where the runs were measured, shape (N,); integers are all ticks.
        panels: panel name -> group name -> runs, shape (runs, N).
        deviations: how many standard deviations of the runs the band reaches either way.
    """
    figure = new_figure(2.0 * len(panels), 2.3)
    first = None
    for i, (panel, groups) in enumerate(panels.items()):
        axes = first = figure.add_subplot(1, len(panels), i + 1, sharey=first)
        axes.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
        for (name, values), color, style in zip(groups.items(), (BLUE, ORANGE, GREEN), ("-", "--", "-."), strict=False):
            runs = np.asarray(values, dtype=float)
            mean, reach = runs.mean(0), deviations * runs.std(0, ddof=1)
            axes.fill_between(x, mean - reach, mean + reach, color=color, alpha=0.18, lw=0)
            axes.plot(x, runs.T, color=color, linewidth=0.6, alpha=0.5)
            axes.plot(x, mean, color=color, linewidth=2, linestyle=style, label=name)
        axes.set_title(panel, fontsize=10)
        axes.set_xlabel(x_label)
        if np.issubdtype(np.asarray(x).dtype, np.integer):
            axes.set_xticks(x)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        if i == 0:
            axes.set_ylabel(y_label)
            axes.legend(frameon=False, fontsize=8)
    return figure


def curve(x: ArrayLike, y: ArrayLike, x_label: str, y_label: str) -> BookFigure:
    """One line."""
    figure = new_figure(5, 2.2)
    axes = figure.add_subplot()
    axes.plot(x, y, color=BLUE)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure


def lines(x: ArrayLike, ys: Mapping[str, ArrayLike], x_label: str, y_label: str) -> BookFigure:
    """Several lines over the same x, each with its name.

    Args:
        ys: name -> numbers, shape (N,).
    """
    figure = new_figure(5, 2.4)
    axes = figure.add_subplot()
    styles = cycle(("-", "--", "-.", ":"))
    for (name, y), color, style in zip(ys.items(), cycle((BLUE, ORANGE, GREEN, PINK, GREY)), styles, strict=False):
        axes.plot(x, y, color=color, linestyle=style, label=name)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure


def runs_by_setting(settings: Mapping[str, Mapping[str, ArrayLike]], *, x_label: str, y_label: str) -> BookFigure:
    """Several ways of doing something, each under several settings: a dot a run, a bar a mean, a colour a way.

    Args:
        settings: setting -> way -> its runs; the same ways in every setting.
    """
    figure = new_figure(5.2, 2.4)
    axes = figure.add_subplot()
    for i, ways in enumerate(settings.values()):
        width = 0.8 / len(ways)
        styles = zip(cycle((GREY, ORANGE, GREEN, BLUE, PINK)), cycle("sDo^v"), strict=False)
        for j, ((name, values), (color, marker)) in enumerate(zip(ways.items(), styles, strict=False)):
            runs = np.asarray(values, dtype=float)
            place = i + (j - (len(ways) - 1) / 2) * width
            ends = [place - 0.42 * width, place + 0.42 * width]
            axes.plot(ends, [runs.mean()] * 2, color=color, linewidth=2.5)
            apart = place + np.linspace(-0.2, 0.2, len(runs)) * width
            axes.plot(apart, runs, marker, color=color, markersize=5, alpha=0.7, label=name if i == 0 else None)
        if i:
            axes.axvline(i - 0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(settings)), list(settings))
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure


def confusion_matrix(counts: ArrayLike, classes: Sequence[str]) -> BookFigure:
    """How often each class (rows) was taken for each class (columns). Shape: (classes, classes) of counts.

    Args:
        counts: numbers of images, shape (classes, classes).
    """
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


def changes_by_class(panels: Mapping[str, ArrayLike], classes: Sequence[str], *, label: str) -> BookFigure:
    """Values of either sign, classes in rows and channels in columns, a panel a name, all on one scale around white.

    Args:
        panels: title -> values, shape (classes, C).
    """
    arrays = {title: np.asarray(values, dtype=float) for title, values in panels.items()}
    most = max(np.abs(values).max() for values in arrays.values())
    figure = new_figure(5, 0.4 + 1.15 * len(arrays))
    axes_of = figure.subplots(len(arrays), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, values) in zip(axes_of, arrays.items(), strict=True):
        picture = axes.imshow(values, cmap="PuOr_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_yticks(range(len(classes)), classes, fontsize=9)
        axes.set_xticks([])
    axes_of[-1].set_xlabel("channel")
    figure.colorbar(picture, ax=list(axes_of), label=label, shrink=0.85, aspect=30)
    return figure


def changes_by_channel(
    changes: Mapping[str, ArrayLike], groups: Sequence[str], *, label: str, start: int = 1
) -> BookFigure:
    """How far each channel moved: a panel a case, a stem with a dot a channel, a colour a group of channels.

    Args:
        changes: case -> how far every channel moved, shape (C,).
        groups: names of the groups that share the channels equally, in their order.
    """
    figure = new_figure(2.5 * len(changes), 2.3)
    first = None
    for i, (case, values) in enumerate(changes.items()):
        axes = first = figure.add_subplot(1, len(changes), i + 1, sharey=first)
        channels = np.arange(len(np.asarray(values))) + start
        parts = zip(groups, np.split(channels, len(groups)), np.split(np.asarray(values), len(groups)), strict=True)
        for (name, places, heights), color in zip(parts, (ORANGE, BLUE, GREEN, PINK), strict=False):
            axes.vlines(places, 0, heights, color=color, linewidth=2)
            axes.plot(places, heights, "o", color=color, markersize=6, label=name, clip_on=False, zorder=3)
        axes.set_title(case, fontsize=10)
        axes.set(xlabel="channel", ylim=(0, 1.08 * max(np.asarray(v).max() for v in changes.values())))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        if i == 0:
            axes.set_ylabel(label)
            axes.legend(frameon=False, fontsize=8)
    return figure


def errors_by_bit(errors: Mapping[int, ArrayLike], *, label: str, limit: float = 1e3) -> BookFigure:
    """What flipping one bit of a 32-bit float does: a dot a flip, a black bar for the median, a colour a part.

    Errors of zero lie on a line of their own below the logarithmic scale; those above the limit, and those that are no
    number, on one above it.

    Args:
        errors: number of the bit, 0 to 31 -> the error of every flip.
        limit: the largest error that is told from larger ones.
    """
    raw = {bit: np.nan_to_num(np.asarray(values, dtype=float), nan=np.inf) for bit, values in errors.items()}
    everything = np.concatenate(list(raw.values()))
    low, high = everything[everything > 0].min() / 30, limit * 30
    heights = {bit: np.where(values == 0, low, np.where(values > limit, high, values)) for bit, values in raw.items()}
    figure = new_figure(6.4, 3.4)
    axes = figure.add_subplot()
    for name, bits, color in (
        ("mantissa", range(23), BLUE),
        ("exponent", range(23, 31), ORANGE),
        ("sign", [31], GREEN),
    ):
        axes.axvspan(bits[0] - 0.5, bits[-1] + 0.5, color=color, alpha=0.08, lw=0)
        axes.text((bits[0] + bits[-1]) / 2, high * 60, name, color=color, ha="center", va="bottom")
        for bit in sorted(heights.keys() & set(bits)):
            axes.plot(np.full(len(heights[bit]), bit), heights[bit], "o", color=color, markersize=3, alpha=0.5)
            middle = np.median(heights[bit])
            axes.plot([bit - 0.35, bit + 0.35], [middle, middle], color="black", linewidth=1.6)
    axes.set_yscale("log")
    axes.set_ylim(low / 10, high * 30)
    for height, text in ((low, "exactly 0"), (high, f"above {limit:,.0f}")):
        axes.axhline(height, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
        axes.annotate(text, (1.005, height), xycoords=("axes fraction", "data"), fontsize=9, color=GREY, va="center")
    axes.set(xlabel="bit that was flipped", ylabel=label, xlim=(-0.8, 31.8), xticks=[0, 5, 10, 15, 20, 23, 27, 30])
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def quartile_bars(panels: Mapping[str, Mapping[str, Sequence[float]]], *, label: str, columns: int = 2) -> BookFigure:
    """How long each of several things took: a panel a case, in it a row a thing.

    A bar reaches from zero to the median, a black line from the lower to the upper quartile.

    Args:
        panels: title -> name of a row -> lower quartile, median, upper quartile.
    """
    rows = -(-len(panels) // columns)
    most = max(len(bars) for bars in panels.values())
    figure = new_figure(3 * columns, rows * (0.7 + 0.26 * most))
    for i, (title, bars) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        colors = cycle((GREY, BLUE, ORANGE, GREEN, PINK))
        for row, ((low, median, high), color) in enumerate(zip(bars.values(), colors, strict=False)):
            axes.barh(row, median, color=color, alpha=0.45, height=0.7)
            axes.plot([low, high], [row, row], color="black", linewidth=2, solid_capstyle="butt")
        axes.set_yticks(range(len(bars)), list(bars))
        axes.invert_yaxis()
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.3)
    return figure
