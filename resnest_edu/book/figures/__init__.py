"""Figures of the book: data in, matplotlib figure out. Matplotlib comes with the extra ``book``."""

from resnest_edu.book.figures.charts import (
    changes_by_channel,
    changes_by_class,
    confusion_matrix,
    cost_and_quality,
    curve,
    dots_by_row,
    errors_by_bit,
    lines,
    lines_with_band,
    mean_and_interval,
    mean_and_spread,
    quartile_bars,
    runs_by_setting,
)
from resnest_edu.book.figures.detections import label_maps, scenes_with_boxes
from resnest_edu.book.figures.diagrams import Arrow, Box, MapStage, Segment, channel_strips, flow_diagram, network_map
from resnest_edu.book.figures.divided import divided_channel, divided_channels
from resnest_edu.book.figures.dots import dots_by_setting
from resnest_edu.book.figures.machines import detector_map, segmenter_map
from resnest_edu.book.figures.memory import memory_passes, paired_bars, roofline
from resnest_edu.book.figures.orders import two_orders
from resnest_edu.book.figures.pictures import cell_maps, heat_maps, image_grid
from resnest_edu.book.figures.regions import anchors_by_level, sampled_map
from resnest_edu.book.figures.style import BookFigure

__all__ = [
    "Arrow",
    "BookFigure",
    "Box",
    "MapStage",
    "Segment",
    "anchors_by_level",
    "cell_maps",
    "changes_by_channel",
    "changes_by_class",
    "channel_strips",
    "confusion_matrix",
    "cost_and_quality",
    "curve",
    "detector_map",
    "divided_channel",
    "divided_channels",
    "dots_by_row",
    "dots_by_setting",
    "errors_by_bit",
    "flow_diagram",
    "heat_maps",
    "image_grid",
    "label_maps",
    "lines",
    "lines_with_band",
    "mean_and_interval",
    "mean_and_spread",
    "memory_passes",
    "network_map",
    "paired_bars",
    "quartile_bars",
    "roofline",
    "runs_by_setting",
    "sampled_map",
    "scenes_with_boxes",
    "segmenter_map",
    "two_orders",
]
