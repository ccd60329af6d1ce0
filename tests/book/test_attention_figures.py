"""Figures of how channels divide themselves between splits, and of runs as dots, show what they were given."""

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from resnest_edu.book import figures
from resnest_edu.book.figures.style import BookFigure
from resnest_edu.book.intervals import mean_interval

PICTURES = torch.full((2, 3, 8, 8), 99, dtype=torch.uint8)
RUNS = torch.tensor([[1.0, 2.0], [2.0, 5.0], [3.0, 2.0]])  # three runs at two settings


def texts(figure: BookFigure) -> set[str]:
    assert figure._repr_png_().startswith(b"\x89PNG")
    return {text.get_text() for text in figure.findobj(Text)}


def test_the_bar_of_a_channel_is_shared_as_its_weights_say() -> None:
    figure = figures.divided_channel(PICTURES, [[0.7, 0.3], [0.4, 0.6]], ["first", "second"])
    assert {"first", "second", "split 1: 0.7", "split 2: 0.6"} <= texts(figure)
    first, second = ([bar.get_width() for bar in axes.patches] for axes in figure.axes[1::2])
    assert (first, second) == (pytest.approx([0.7, 0.3]), pytest.approx([0.4, 0.6]))


def test_columns_of_channels_reach_from_none_to_all_and_pictures_stand_by_their_rows() -> None:
    rows = {"own": [[0.2, 0.9], [0.8, 0.1]], "uniform": [[0.5, 0.5], [0.5, 0.5]]}
    figure = figures.divided_channels(rows, {"own": PICTURES[0]}, label="the channels")
    assert {*rows, "the channels"} <= texts(figure)
    assert [len(axes.images) for axes in figure.axes[::2]] == [1, 0]
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes[1::2]]
    assert heights == [pytest.approx([0.2, 0.9, 0.8, 0.1]), pytest.approx([0.5] * 4)]


def test_marks_lie_at_means_and_every_run_is_a_dot() -> None:
    figure = figures.dots_by_setting(
        {"first": {"a": RUNS, "b": RUNS - 9}, "second": {"b": RUNS}}, ["x", "y"], lines={"first": 0}
    )
    assert {"first", "second", "a", "b", "x", "y"} <= texts(figure)
    across, dots, reach, mean, *_ = figure.axes[0].get_lines()
    assert set(across.get_ydata()) == {0}
    panels = {"first": {"a": RUNS}, "second": {"a": RUNS}}
    without, below = figures.dots_by_setting(panels, ["x", "y"], lines={"second": 7}).axes
    assert set(below.get_lines()[0].get_ydata()) == {7}
    assert len(without.get_lines()) == len(below.get_lines()) - 1
    found = mean_interval([1.0, 2.0, 3.0])
    assert list(dots.get_ydata()) == [1, 2, 3] and list(mean.get_ydata()) == [2]
    np.testing.assert_allclose(reach.get_ydata(), [found.low, found.high])
    colours = [figure.axes[panel].get_lines()[line].get_color() for panel, line in ((0, -1), (1, -1))]
    assert colours[0] == colours[1]  # b has one colour
    positive = figures.dots_by_setting({"c": {"a": RUNS + 20}}, ["x", "y"])
    assert figure.axes[0].get_ylim()[0] < 0 and positive.axes[0].get_ylim()[0] == 0


def test_panels_of_rows_have_scales_of_their_own() -> None:
    figure = figures.dots_by_row({"first": {"a": [1.0, 2.0, 3.0]}, "second": {"b": [10.0, 30.0]}}, label="points")
    assert {"first", "second", "a", "b", "points"} <= texts(figure)
    above, below = figure.axes
    assert above.get_xlim()[1] < 10 < below.get_xlim()[1] and above.yaxis_inverted()
    _, mean, dots = above.get_lines()
    assert list(dots.get_xdata()) == [1, 2, 3] and list(mean.get_xdata()) == [2]
