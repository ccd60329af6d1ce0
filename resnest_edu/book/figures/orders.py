"""The two orders in which split attention keeps its channels, and the permutation between them."""

from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from resnest_edu.book.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, BookFigure, new_figure

HUES, SHADES = (BLUE, ORANGE, GREEN, PINK), (0.62, 0.28, 0.45, 0.14)  # of splits and of cardinal groups


def two_orders(radix: int, cardinality: int, channels: int, mark: tuple[int, int, int] | None = None) -> BookFigure:
    """The channels of all splits as two strips, cardinality-major above, radix-major below; lines join the same.

    Args:
        radix: splits of a cardinal group.
        cardinality: cardinal groups.
        channels: of one split, all cardinal groups together.
        mark: split, cardinal group and channel of one channel to follow, or None.
    """
    share = channels // cardinality
    pieces = [(r, k) for r in range(radix) for k in range(cardinality)]
    orders = {
        "cardinality-major  (k r c): r runs within k": sorted(pieces, key=lambda piece: piece[::-1]),
        "radix-major  (r k c): k runs within r": pieces,
    }
    wide, half, levels = 4.5 / len(pieces), 0.2, (0.0, -1.35)  # inches of a piece; half of a strip's height; its middle
    figure = new_figure(4.8, 2.5)
    axes = figure.add_subplot()
    axes.set(xlim=(-0.15, 4.65), ylim=(levels[1] - 0.62, 0.53), aspect="equal")
    axes.axis("off")
    for (name, order), y, side in zip(orders.items(), levels, (1, -1), strict=True):
        axes.text(2.25, y + side * 0.4, name, ha="center", va="center", fontsize=9.5)
        for i, (r, k) in enumerate(order):
            color = to_rgba(HUES[r % 4], SHADES[k % 4])
            axes.add_patch(Rectangle((i * wide, y - half), wide, 2 * half, facecolor=color, edgecolor="white"))
            axes.text((i + 0.96) * wide, y, f"r={r}, k={k}", ha="right", va="center", fontsize=9.5)
    above, below = (list(order) for order in orders.values())
    for piece in pieces:
        ends = (above.index(piece), below.index(piece))
        for edge in (0.04, 0.96):
            xs = [(end + edge) * wide for end in ends]
            axes.plot(xs, (levels[0] - half, levels[1] + half), color=HUES[piece[0] % 4], linewidth=1, zorder=0)
    if mark is not None:
        r, k, c = mark
        xs = [(order.index((r, k)) + (c + 0.5) / share) * wide for order in (above, below)]
        # A line, not a dot: it stands for one channel of the strip.
        for x, y in zip(xs, levels, strict=True):
            axes.plot((x, x), (y - half, y + half), color="black", linewidth=3, solid_capstyle="butt")
        axes.plot(xs, (levels[0] - half, levels[1] + half), color="black", linewidth=1, linestyle=":")
        numbers = (k * radix * share + r * share + c, r * channels + k * share + c)
        for x, y, number in zip(xs, (levels[0] - half - 0.1, levels[1] + half + 0.1), numbers, strict=True):
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axes.text(x + 0.07, y, str(number), va="center", fontsize=9.5, weight="bold", bbox=ground)
    for y, side in zip(levels, (1, -1), strict=True):
        for i in range(len(pieces) + 1):
            place = i * wide
            axes.text(place, y + side * 0.26, str(i * share), ha="center", va="center", fontsize=7.5, color=GREY)
    return figure
