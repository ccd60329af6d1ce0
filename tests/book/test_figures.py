"""Every figure draws itself from data of the shape it asks for, and shows what it was given."""

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from resnest_edu.book import figures
from resnest_edu.book.figures.style import BookFigure
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
    "bars_side_by_side": lambda: figures.bars_side_by_side(
        {"first": {"a": [0.5, 1.0], "b": [0.2, 0.3]}, "second": {"a": [0.25, 0.75], "b": [1, 0]}},
        ["c", "d"],
        label="share",
        numbers=".2f",
    ),
    "runs_by_setting": lambda: figures.runs_by_setting(
        {"first": {"a": [1, 2], "b": [3, 5]}, "second": {"a": [1, 1], "b": [2, 3]}}, x_label="x", y_label="y"
    ),
    "paths": lambda: figures.paths({"first": [[0, 1], [2, 3]], "second": np.ones((4, 2))}, (1.0, 2.0)),
    "confusion_matrix": lambda: figures.confusion_matrix([[3, 1], [0, 2]], ["first", "second"]),
    "attention_over_splits": lambda: figures.attention_over_splits({"first": {"second": [0.1, 0.9]}}),
    "shares": lambda: figures.shares({"first": [[0.2, 0.7], [0.8, 0.3]]}),
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
    "precision_recall": lambda: figures.precision_recall({"first": np.linspace(1, 0, 101), "second": torch.ones(101)}),
    "iou_histograms": lambda: figures.iou_histograms(
        {"first": [0.1, 0.5, 0.65, 0.95], "second": torch.tensor([0.72, 0.74])}
    ),
    "pyramid": lambda: figures.pyramid({"C2": (4, 256), "C3": (8, 512)}, out_channels=128),
    "quartile_bars": lambda: figures.quartile_bars(
        {"first": {"a": (1.0, 2.0, 4.0), "b": (3.0, 5.0, 5.5)}, "second": {"c": (1, 1, 1)}, "third": {"d": (1, 2, 3)}},
        label="ms",
    ),
    "roofline": lambda: figures.roofline(
        {"first": {"a": [(100.0, 100.0), (100.0, 400.0)], "b": [(9000.0, 100.0)]}, "second": {"c": [(1.0, 2.0)]}},
        peak=4e12,
        bandwidth=1e12,
    ),
}


def texts(figure: BookFigure) -> set[str]:
    figure.draw_without_rendering()
    return {text.get_text() for text in figure.findobj(Text)}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_shows_itself_and_names_what_it_shows(name):
    figure = FIGURES[name]()
    assert figure._repr_png_().startswith(b"\x89PNG")
    named = {"precision_recall": "first: 0.50", "pyramid": "C2: stride 4, 256 ch."}.get(name, "first")
    assert named in texts(figure)


def test_every_group_has_its_row():
    assert set(RUNS) <= texts(FIGURES["mean_and_spread"]())


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


def test_the_mark_of_a_channel_bears_its_number_and_lies_on_it():
    figure = FIGURES["channel_strips"]()
    assert {"2", "6"} <= texts(figure)
    bars = [patch for patch in figure.axes[0].patches if patch.get_facecolor() == (0, 0, 0, 1)]
    centres = [bar.get_x() + bar.get_width() / 2 for bar in bars]
    np.testing.assert_allclose(centres, [2.5 * 7 / 8, 6.5 * 7 / 8])  # of 8 channels over 7 inches


def test_all_panels_of_changes_reach_as_high_as_the_largest_change():
    figure = FIGURES["changes_by_channel"]()
    assert all(axes.get_ylim()[1] > 2 for axes in figure.axes)


def test_values_of_either_sign_have_one_scale_around_white():
    figure = FIGURES["changes_by_class"]()
    assert {"first", "second", "a", "b", "c", "channel"} <= texts(figure)
    for axes, value in zip(figure.axes[:2], (-0.3, 0.5), strict=True):
        (picture,) = axes.images
        assert picture.get_clim() == (-0.5, 0.5)
        assert value in picture.get_array()
    np.testing.assert_allclose(picture.cmap(picture.norm(0.0))[:3], 1, atol=0.05)
    assert figure.axes[0].get_position().y0 > figure.axes[1].get_position().y1


@pytest.mark.parametrize(("x", "ticks"), [([1, 2], [1, 2]), ([1.0, 2.0], None)])
def test_whole_numbers_are_the_ticks_of_a_line(x, ticks):
    figure = figures.lines_with_band(x, {"a": {"b": [[0.0, 1.0], [0.0, 2.0]]}}, x_label="x", y_label="y")
    shown = list(figure.axes[0].get_xticks())
    assert (shown == ticks) if ticks else (len(shown) > 2)


def test_the_map_draws_roots_of_channels_and_sizes_and_names_both():
    figure = FIGURES["network_map"]()
    assert {"first", "16 × 64 × 64", "64 × 16 × 16"} <= texts(figure)
    few, many = (patch for patch in figure.axes[0].patches if hasattr(patch, "get_width"))
    assert many.get_width() / few.get_width() == pytest.approx(2)
    assert few.get_height() / many.get_height() == pytest.approx(2)
    assert few.get_y() > many.get_y() + many.get_height()
    assert few.get_x() + few.get_width() / 2 == pytest.approx(many.get_x() + many.get_width() / 2)


def test_cells_that_are_not_zero_bear_their_numbers():
    figure = FIGURES["cell_maps"]()
    assert {"2.25", "1.5", "1"} <= texts(figure)
    assert "0" not in texts(figure)
    first, second = figure.axes
    assert first.get_position().y0 > second.get_position().y0  # one column
    for axes, largest in ((first, 2.25), (second, 1)):
        (cells,) = axes.collections
        assert cells.norm(largest) == pytest.approx(1.45 / 2.65)
        assert axes.yaxis_inverted()  # the first row is on top


def test_flips_without_effect_lie_below_the_others_and_those_beyond_the_limit_above():
    axes = FIGURES["errors_by_bit"]().axes[0]
    lines = [line.get_xydata() for line in axes.get_lines()]
    dots = {int(line[0, 0]): line[:, 1] for line in lines if line[0, 0] == line[-1, 0]}
    medians = {round(line[:, 0].mean()): line[0, 1] for line in lines if line[-1, 0] - line[0, 0] == pytest.approx(0.7)}
    assert 0 < dots[0][0] < dots[0][1] == 1e-3
    assert dots[30][0] == dots[30][1] == dots[31][1] > dots[31][0] == 1000
    np.testing.assert_allclose([medians[23], medians[30]], [0.505, dots[30][0]])
    assert {"mantissa", "exponent", "sign", "exactly 0", "above 1,000"} <= texts(FIGURES["errors_by_bit"]())
    assert axes.get_ylim()[0] < dots[0][0] and axes.get_ylim()[1] > dots[30][0]


def test_a_bar_ends_at_the_median_and_its_line_at_the_quartiles():
    figure = FIGURES["quartile_bars"]()
    assert {"first", "second", "third", "a", "b", "c", "d", "ms"} <= texts(figure)
    axes = figure.axes[0]
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0, 2), (0, 5)]
    assert [list(line.get_xdata()) for line in axes.lines] == [[1, 4], [3, 5.5]]
    assert axes.get_xlim()[0] == 0
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is on top
    assert figure.axes[2].get_position().y0 < axes.get_position().y0  # two panels side by side


def test_dots_lie_on_the_roof_and_are_as_large_as_their_share_of_the_time():
    figure = FIGURES["roofline"]()
    assert {"first", "second", "a", "b", "c"} <= texts(figure)
    first, second = figure.axes
    slow, fast = first.collections
    np.testing.assert_allclose(slow.get_offsets(), [[1, 1], [0.25, 0.25]])  # below the ridge: the bandwidth decides
    np.testing.assert_allclose(fast.get_offsets(), [[90, 4]])  # above it: the peak
    seconds = np.array([100, 400, 2250])
    sizes = np.concatenate([slow.get_sizes(), fast.get_sizes()])
    np.testing.assert_allclose(sizes, 4000 * seconds / seconds.sum())
    np.testing.assert_allclose(second.collections[0].get_sizes(), [4000])
    roof, ridge = first.lines
    np.testing.assert_allclose(ridge.get_xdata(), [4, 4])
    x, y = roof.get_data()
    np.testing.assert_allclose(y, np.minimum(4, x))
    assert min(x) < 0.25 and max(x) > 90 and 4 in x


def test_a_kind_of_operations_looks_the_same_in_every_panel():
    pairs = [(1.0, 2.0)]
    figure = figures.roofline({"one": {"b": pairs}, "two": {"a": pairs, "b": pairs}}, peak=1.0, bandwidth=1.0)
    (alone,), (other, beside) = (axes.collections for axes in figure.axes)
    assert (alone.get_facecolor() == beside.get_facecolor()).all()
    assert not (alone.get_facecolor() == other.get_facecolor()).all()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["b", "a"]


def test_bars_bear_their_values_where_asked():
    assert {"0.50", "0.30", "0.75"} <= texts(FIGURES["bars_side_by_side"]())
    plain = figures.bars_side_by_side({"first": {"a": [0.5, 1.0]}}, ["c", "d"], label="share")
    assert "0.50" not in texts(plain)
    assert [bar.get_height() for bar in plain.axes[0].patches] == [0.5, 1.0]


def test_a_bar_lies_at_the_mean_of_the_runs_of_every_way_and_setting():
    (axes,) = FIGURES["runs_by_setting"]().axes
    bars = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 2.5]
    assert bars == [1.5, 4, 1, 2.5]


def test_the_end_of_a_path_is_marked():
    (axes,) = FIGURES["paths"]().axes
    marks = [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in axes.lines if line.get_marker() == "o"
    ]
    assert marks == [(2, 3), (1, 1)]


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


def test_masks_of_the_truth_are_drawn_where_nothing_is_predicted():
    masks = torch.zeros(2, 8, 8, dtype=torch.uint8)
    masks[0, 3] = 1
    figure = figures.scenes_with_boxes(PICTURES[:1], [TARGETS[0] | {"masks": masks}], classes=["first", "second"])
    _, full, empty = figure.axes[0].images
    assert (np.asarray(full.get_array())[3, :, 3] > 0).all() and not np.asarray(empty.get_array()).any()


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


def test_of_many_labels_those_that_occur_have_colours():
    names = [f"class {i}" for i in range(21)]
    image = PICTURES[:1, :, :3, :3]
    figure = figures.label_maps(image, {"first": np.array([[[0, 20, 7]] * 3])}, names)
    assert texts(figure) & set(names) == {"class 0", "class 7", "class 20"}
    with pytest.raises(ValueError, match="at most 8 labels besides the background, not 9"):
        figures.label_maps(image, {"first": np.arange(1, 10).reshape(1, 3, 3)}, names)


def test_the_mean_precision_stands_beside_the_name():
    figure = FIGURES["precision_recall"]()
    assert {"first: 0.50", "second: 1.00", "recall", "precision"} <= texts(figure)
    first, _ = figure.axes[0].lines
    np.testing.assert_allclose(first.get_xydata()[[0, 25, 100]], [[0, 1], [0.25, 0.75], [1, 0]])


def test_histograms_count_all_boxes_and_say_which_share_reaches_a_threshold():
    figure = FIGURES["iou_histograms"]()
    assert {"≥ 0.5: 75 %", "≥ 0.6: 50 %", "≥ 0.7: 25 %", "≥ 0.7: 100 %"} <= texts(figure)
    for axes in figure.axes:
        assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(100)
        assert [line.get_xdata()[0] for line in axes.lines] == [0.5, 0.6, 0.7]


def test_the_pyramid_names_levels_and_sums_all_but_the_coarsest():
    shown = texts(FIGURES["pyramid"]())
    levels = {"P2: stride 4, 128 ch.", "P3: stride 8, 128 ch.", "P4: stride 16, 128 ch."}
    assert levels | {"M2: sum", "M3", "1×1", "3×3", "×2", "pool"} <= shown
    without = texts(figures.pyramid({"C2": (4, 256)}, extra_level=False))
    assert not {"pool", "×2"} & without


def test_names_near_the_right_edge_end_there():
    target = {"boxes": torch.tensor([[1.0, 2.0, 4.0, 5.0], [6.0, 2.0, 9.0, 5.0]]), "labels": torch.tensor([1, 2])}
    figure = figures.scenes_with_boxes(PICTURES[:1], [target], classes=["first", "second"])
    first, second = figure.axes[0].texts
    assert (first.get_position()[0], first.get_ha()) == (0.5, "left")
    assert (second.get_position()[0], second.get_ha()) == (7.5, "right")
