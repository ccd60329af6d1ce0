"""Images to learn from: scenes of shapes drawn on the spot, folders of real images, CIFAR-10."""

from resnest_edu.data.image_files import load_image
from resnest_edu.data.images import ImageSplits, cifar10, decode, open_image_folder
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
    "ImageSplits",
    "SceneConfig",
    "Scenes",
    "ShapesDataset",
    "cifar10",
    "decode",
    "draw_scenes",
    "load_image",
    "open_image_folder",
]
