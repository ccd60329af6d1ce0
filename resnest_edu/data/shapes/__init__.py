"""Scenes of coloured shapes, drawn on the spot: pictures, classes, boxes, masks, nothing to download."""

from resnest_edu.data.shapes.scenes import (
    SHAPE_CLASSES,
    TEST_START,
    SceneConfig,
    Scenes,
    ShapesDataset,
    draw_scenes,
)

__all__ = [
    "SHAPE_CLASSES",
    "TEST_START",
    "SceneConfig",
    "Scenes",
    "ShapesDataset",
    "draw_scenes",
]
