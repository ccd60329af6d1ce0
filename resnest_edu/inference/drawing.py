"""What a detector or a segmenter has found, drawn into the image.

Legend: n objects, H height, W width.
"""

import colorsys

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from resnest_edu.inference.trained_model import TrainedModel


def draw(model: TrainedModel, image: Image.Image, found: dict[str, Tensor]) -> Image.Image:
    """The image with boxes, names, scores and masks in it, or with its map over it; a class has one colour everywhere.

    Args:
        model: a detector or a segmenter.
        image: what it has looked at.
        found: what it has found; see :func:`predict_images`.
    """
    pixels = pil_to_tensor(image)
    if "map" in found:
        labels = [label for label in found["map"].unique().tolist() if label]  # without the background
        masks = torch.stack([found["map"] == label for label in labels]) if labels else None
    else:
        labels, masks = found["labels"].tolist(), found.get("masks")
    if not labels:
        return image
    colours = [_colour(label) for label in labels]
    if masks is not None:
        pixels = draw_segmentation_masks(pixels, masks, alpha=0.5, colors=colours)
    if "boxes" in found:
        names = [f"{model.classes[one - 1]} {score:.2f}" for one, score in zip(labels, found["scores"], strict=True)]
        width = max(1, min(image.size) // 200)
        pixels = draw_bounding_boxes(pixels, found["boxes"], names, colours, width=width)
    return to_pil_image(pixels)


def _colour(label: int) -> tuple[int, int, int]:
    """Hues a golden section apart: however many classes there are, neighbours differ."""
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(label * 0.618 % 1, 0.9, 1))
    return red, green, blue
