"""What all figures have in common: an opaque light background, so that a figure reads the same on a light and on a
dark page, and colours that the colour-blind can tell apart (Okabe and Ito's)."""

import io

from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#5F6B76"
LINE = "#C3CAD2"  # of grids and frames that should not be looked at
FILLS = {"plain": "#F2F4F7", "blue": "#D5E8F5", "orange": "#FBE3D0", "green": "#D3EFE5", "pink": "#F6E1EC"}


class BookFigure(Figure):
    """A figure that shows itself where a notebook cell ends in it, whatever matplotlib's backend."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        # As large as what is drawn, so that nothing is cut off and no strip is empty.
        self.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.06, metadata={"Software": None})
        return buffer.getvalue()


def new_figure(width: float, height: float) -> BookFigure:
    """An empty figure, sizes in inches."""
    return BookFigure(figsize=(width, height), facecolor="white", layout="constrained", dpi=130)
