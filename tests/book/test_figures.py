"""Every figure draws itself from data of the shape it asks for, and shows what it was given."""

import io

import numpy as np
import pytest
import torch
from einops import rearrange
from matplotlib.image import imread
from matplotlib.text import Text

from resnest_edu.book import figures
from resnest_edu.book.figures.style import BookFigure, new_figure
from resnest_edu.book.intervals import mean_interval

PICTURES = torch.full((2, 3, 8, 8), 99, dtype=torch.uint8)
TARGETS = [
    {"boxes": torch.tensor([[1.0, 2.0, 5.0, 6.0], [0.0, 0.0, 3.0, 3.0]]), "labels": torch.tensor([1, 2])},
    {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)},
]
PREDICTIONS = [
    {
        "boxes": torch.tensor([[1.0, 1.0, 5.0, 7.0], [2.0, 2.0, 4.0, 4.0]]),
        "labels": torch.tensor([1, 2]),
        "scores": torch.tensor([0.75, 0.25]),
        "masks": torch.eye(8).repeat(2, 1, 1, 1),
    },
    TARGETS[1] | {"scores": torch.empty(0), "masks": torch.empty(0, 1, 8, 8)},
]
MAPS = {"first": np.array([[[0, 1], [2, 2]]]), "second": torch.tensor([[[0, 255], [255, 1]]])}
SEGMENTS = [figures.Segment(4, "r=0", 0, 0), figures.Segment(4, "r=1", 1, 0)]
RUNS = {f"group {i}": [1.0, 2.0, 3.0 + i] for i in range(6)}  # more groups than colours
FIGURES = {
    "flow_diagram": lambda: figures.flow_diagram(
        {"a": figures.Box(0, 0, "first"), "b": figures.Box(0, -1, "second")},
        [figures.Arrow("a", "b", "down"), figures.Arrow("a", "b", via=-2)],
    ),
    "channel_strips": lambda: figures.channel_strips({"first": SEGMENTS, "second": SEGMENTS[::-1]}, [2, 6]),
    "two_orders": lambda: figures.two_orders(2, 3, 12, mark=(1, 1, 2)),
    "network_map": lambda: figures.network_map(
        [figures.MapStage("first", 16, 64), figures.MapStage("second", 64, 16, "blue")]
    ),
    "cell_maps": lambda: figures.cell_maps(
        {"first": np.array([[0, 2.25], [1.5, 0]]), "second": torch.eye(3)}, columns=1, numbers=True
    ),
    "image_grid": lambda: figures.image_grid(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), ["first", "second", "c"]),
    "heat_maps": lambda: figures.heat_maps({"first": torch.rand(4, 4), "second": torch.rand(4, 4)}),
    "mean_and_spread": lambda: figures.mean_and_spread(RUNS, label="first"),
    "mean_and_interval": lambda: figures.mean_and_interval(RUNS, label="first", line=2.5),
    "cost_and_quality": lambda: figures.cost_and_quality(
        {name: (float(i), runs) for i, (name, runs) in enumerate(RUNS.items())}, cost_label="first", quality_label="y"
    ),
    "lines_with_band": lambda: figures.lines_with_band(
        [1, 2], {"first": {"second": [[0.0, 1.0], [0.0, 2.0]]}}, x_label="x", y_label="y"
    ),
    "curve": lambda: figures.curve([0, 1], [1, 2], "first", "second"),
    "lines": lambda: figures.lines([0, 1], {"first": [1, 2], "second": [2, 1]}, "x", "y"),
    "runs_by_setting": lambda: figures.runs_by_setting(
        {"first": {"a": [1, 2], "b": [3, 5]}, "second": {"a": [1, 1], "b": [2, 3]}}, x_label="x", y_label="y"
    ),
    "confusion_matrix": lambda: figures.confusion_matrix([[3, 1], [0, 2]], ["first", "second"]),
    "changes_by_channel": lambda: figures.changes_by_channel(
        {"first": [0.0, 1.0], "second": torch.tensor([0.5, 2.0])}, ["a", "b"], label="change"
    ),
    "changes_by_class": lambda: figures.changes_by_class(
        {"first": [[0.1, -0.3], [0.0, 0.2]], "second": torch.tensor([[0.0, 0.5], [-0.1, 0.0]])}, ["a", "b"], label="c"
    ),
    "errors_by_bit": lambda: figures.errors_by_bit(
        {0: [0.0, 1e-3], 23: [1e-2, 1.0], 30: [np.inf, np.nan], 31: [1000.0, 1001.0]}, label="first"
    ),
    "scenes_with_boxes": lambda: figures.scenes_with_boxes(PICTURES, TARGETS, classes=["first", "second"]),
    "label_maps": lambda: figures.label_maps(PICTURES[:1, :, :2, :2], MAPS, ["ground", "a", "b"]),
    "detector_map": lambda: figures.detector_map({"C2": (4, 8, 12), "C3": (8, 4, 6)}, 1234, channels=16),
    "segmenter_map": lambda: figures.segmenter_map({"image": (3, 16, 16), "first": (8, 4, 4)}, (1, 2, 3), classes=5),
    "anchors_by_level": lambda: figures.anchors_by_level({"first": [[2, 2, 6, 6]], "second": torch.ones(3, 4)}, (8, 9)),
    "sampled_map": lambda: figures.sampled_map(torch.eye(4), (0.5, 1, 2.5, 3), {(1, 1.5): 0.75}),
    "quartile_bars": lambda: figures.quartile_bars(
        {"first": {"a": (1.0, 2.0, 4.0), "b": (3.0, 5.0, 5.5)}, "second": {"c": (1, 1, 1)}, "third": {"d": (1, 2, 3)}},
        label="ms",
    ),
    "memory_passes": lambda: figures.memory_passes({"first": ([(2, 1)], [(1, 2), (3, 0)]), "b": ([], [(1, 0)])}),
    "paired_bars": lambda: figures.paired_bars({"a": (1.24, 1.49)}, ("first", "second"), label="x"),
    "roofline": lambda: figures.roofline(
        {"first": [(100.0, 100.0, 1e-9), (100.0, 400.0, 1e-9)], "b": [(9000.0, 100.0, 1e-8)]}, peak=4e12, bandwidth=1e12
    ),
}


def texts(figure: BookFigure) -> set[str]:
    figure.draw_without_rendering()
    return {text.get_text() for text in figure.findobj(Text)}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_shows_itself_and_names_what_it_shows(name):
    figure = FIGURES[name]()
    assert figure._repr_png_().startswith(b"\x89PNG")
    other = {
        "detector_map": "P4\n16×2×3",  # half of C3, rounded up
        "segmenter_map": "first\n8×4×4",
        "sampled_map": "0.75",
        "two_orders": "r=1, k=2",
        "memory_passes": "first: 3",
    }
    assert other.get(name, "first") in texts(figure)


def test_nothing_is_cut_off_and_no_strip_is_empty():
    figure = new_figure(2, 1)
    text = figure.text(1.5, 0.5, "first")  # beyond the right edge
    height, width, _ = imread(io.BytesIO(figure._repr_png_())).shape
    extent = text.get_window_extent()
    assert extent.width < width < extent.width + 40 and extent.height < height < extent.height + 40


def test_a_marked_channel_has_its_number_in_both_orders():
    numbers = torch.arange(24)
    radix_major = rearrange(numbers, "(k r c) -> (r k c)", r=2, k=3).tolist()
    below = 12 + 4 + 2  # split 1, cardinal group 1, channel 2
    assert {str(below), str(radix_major[below])} <= texts(FIGURES["two_orders"]())


def test_the_mean_lies_on_its_interval_and_every_run_is_a_dot():
    figure = FIGURES["mean_and_interval"]()
    assert set(RUNS) <= texts(figure)
    axes = figure.axes[0]
    upright, *lines = axes.get_lines()
    assert set(upright.get_xdata()) == {2.5}
    for row, runs in enumerate(RUNS.values()):
        reach, mean, dots = lines[3 * row : 3 * row + 3]
        found = mean_interval(runs)
        assert list(reach.get_xdata()) == [found.low, found.high] and set(reach.get_ydata()) == {row}
        assert mean.get_xydata().tolist() == [[found.mean, row]]
        assert list(dots.get_xdata()) == runs and len(set(dots.get_ydata())) == 3
    assert axes.yaxis_inverted()
    assert len(figures.mean_and_interval(RUNS, label="x").axes[0].get_lines()) == 3 * len(RUNS)


def test_cost_to_the_right_quality_upwards():
    figure = FIGURES["cost_and_quality"]()
    assert {*RUNS, "first", "y"} <= texts(figure)
    lines = figure.axes[0].get_lines()
    for i, runs in enumerate(RUNS.values()):
        found = mean_interval(runs)
        assert lines[2 * i].get_xydata().tolist() == [[i, found.low], [i, found.high]]
        assert lines[2 * i + 1].get_xydata().tolist() == [[i, found.mean]]
    looks = {(line.get_color(), line.get_marker()) for line in lines[1::2]}
    assert len(looks) == len(RUNS)


def test_values_of_either_sign_have_one_scale_around_white():
    figure = FIGURES["changes_by_class"]()
    assert {"first", "second", "a", "b", "c", "channel"} <= texts(figure)
    for axes, value in zip(figure.axes[:2], (-0.3, 0.5), strict=True):
        (picture,) = axes.images
        assert picture.get_clim() == (-0.5, 0.5)
        assert value in picture.get_array()
    np.testing.assert_allclose(picture.cmap(picture.norm(0.0))[:3], 1, atol=0.05)
    assert figure.axes[0].get_position().y0 > figure.axes[1].get_position().y1


def test_a_bar_ends_at_the_median_and_its_line_at_the_quartiles():
    figure = FIGURES["quartile_bars"]()
    assert {"first", "second", "third", "a", "b", "c", "d", "ms"} <= texts(figure)
    axes = figure.axes[0]
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0, 2), (0, 5)]
    assert [list(line.get_xdata()) for line in axes.lines] == [[1, 4], [3, 5.5]]
    assert axes.get_xlim()[0] == 0
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is on top
    assert figure.axes[2].get_position().y0 < axes.get_position().y0  # two panels side by side


def test_a_bar_lies_at_the_mean_of_the_runs_of_every_way_and_setting():
    (axes,) = FIGURES["runs_by_setting"]().axes
    bars = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 2.5]
    assert bars == [1.5, 4, 1, 2.5]


def rectangles(axes) -> list[tuple[float, ...]]:
    """x, y, width and height of those without a face, which are the boxes."""
    found = [patch for patch in axes.patches if not patch.get_fill()]
    return [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in found]


def test_boxes_lie_around_their_pixels_and_the_truth_is_dashed():
    first, second = FIGURES["scenes_with_boxes"]().axes
    # The centre of the first pixel is at 0, so the box of pixels 1 to 4 begins at 0.5.
    assert rectangles(first) == [(0.5, 1.5, 4, 4), (-0.5, -0.5, 3, 3)]
    assert {patch.get_linestyle() for patch in first.patches} == {"--"}
    assert rectangles(second) == []
    assert first.get_xlim() == (-0.5, 7.5) and first.get_ylim() == (7.5, -0.5)


def test_predictions_above_the_threshold_are_drawn_with_class_score_and_mask():
    figure = figures.scenes_with_boxes(PICTURES, TARGETS, PREDICTIONS, classes=["first", "second"])
    assert "first 0.75" in texts(figure) and not {"first", "second 0.25"} & texts(figure)
    axes = figure.axes[0]
    assert rectangles(axes)[2:] == [(0.5, 0.5, 4, 6)]
    assert axes.patches[-1].get_linestyle() == "solid"
    _, mask = axes.images
    np.testing.assert_array_equal(np.asarray(mask.get_array())[..., 3] > 0, np.eye(8) > 0)
    all_drawn = figures.scenes_with_boxes(PICTURES, TARGETS, PREDICTIONS, classes=["first", "second"], threshold=0.2)
    assert "second 0.25" in texts(all_drawn)


def test_equal_labels_have_equal_colours_and_ignored_pixels_none_of_them():
    figure = FIGURES["label_maps"]()
    assert {"image", "first", "second", "ground", "a", "b", "ignored"} <= texts(figure)
    first, second = (np.asarray(axes.images[0].get_array()) for axes in figure.axes[1:])
    assert (first[0, 0] == second[0, 0]).all() and (first[0, 1] == second[1, 1]).all()
    assert (first[1, 0] == first[1, 1]).all()
    assert len(np.unique(first.reshape(-1, 3), axis=0)) == 3
    labelled = {tuple(color) for color in first.reshape(-1, 3)}
    assert not labelled & {tuple(second[0, 1]), tuple(second[1, 0])}
    striped = figures.label_maps(PICTURES[:1], {"first": np.full((1, 8, 8), 255)}, ["ground", "a"]).axes[1].images[0]
    assert {float(color.sum()) for color in np.asarray(striped.get_array())[0]} > {3.0}  # white, and another
    assert "ignored" not in texts(figures.label_maps(PICTURES[:1, :, :2, :2], {"a": MAPS["first"]}, ["b", "c", "d"]))
