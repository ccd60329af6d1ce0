"""Figures of the book: data in, matplotlib figure out. Matplotlib comes with the extra ``book``."""

from resnest_edu.figures.base import BookFigure
from resnest_edu.figures.charts import (
    attention_over_splits,
    bars_side_by_side,
    changes_by_channel,
    changes_by_class,
    confusion_matrix,
    curve,
    errors_by_bit,
    lines,
    lines_with_band,
    mean_and_spread,
    paths,
    quartile_bars,
    roofline,
    runs_by_setting,
    shares,
    training_curves,
)
from resnest_edu.figures.diagrams import Arrow, Box, MapStage, Segment, channel_strips, flow_diagram, network_map
from resnest_edu.figures.pictures import cell_maps, heat_maps, image_grid

__all__ = [
    "Arrow",
    "BookFigure",
    "Box",
    "MapStage",
    "Segment",
    "attention_over_splits",
    "bars_side_by_side",
    "cell_maps",
    "changes_by_channel",
    "changes_by_class",
    "channel_strips",
    "confusion_matrix",
    "curve",
    "errors_by_bit",
    "flow_diagram",
    "heat_maps",
    "image_grid",
    "lines",
    "lines_with_band",
    "mean_and_spread",
    "network_map",
    "paths",
    "quartile_bars",
    "roofline",
    "runs_by_setting",
    "shares",
    "training_curves",
]
