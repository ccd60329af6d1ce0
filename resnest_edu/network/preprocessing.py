"""Preprocessing: from an image to what the published weights were trained and measured on.

Legend: B batch, H height, W width.
"""

from typing import Any

import torch
from PIL import Image
from torch import Tensor

# Statistics of ImageNet's training images, the convention of every published checkpoint.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalize(images: Tensor) -> Tensor:
    """Bytes to network input: (x / 255 - mean) / std for each colour.

    Shape: uint8 (B, 3, H, W) -> float32 (B, 3, H, W).

    Raises:
        ValueError: the images are not bytes.
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"images (={images.dtype}) must be uint8, as PILToTensor gives them: they are normalized here")
    mean = torch.tensor(MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(3, 1, 1)
    return (images / 255 - mean) / std


def centre(size: int) -> list[Any]:
    """The steps from PIL's image of any size to the middle of it, ``size`` pixels a side: the shorter side is made
    ``size`` / 0.875, rounded, bilinearly, and from 320 pixels on ``size`` + 32, bicubically; then the centre is
    cropped. So does the MXNet code that trained the published weights.
    """
    from torchvision.transforms import InterpolationMode, v2

    if size >= 320:
        resize = v2.Resize(size + 32, interpolation=InterpolationMode.BICUBIC)
    else:
        resize = v2.Resize(round(size / 0.875), interpolation=InterpolationMode.BILINEAR)
    return [_shorten, resize, v2.CenterCrop(size)]


def _shorten(image: Image.Image) -> Image.Image:
    """Cut the ends off a strip, of which only the middle is wanted: resized as a whole, it might not fit in memory."""
    longest = 16 * min(image.size)
    width, height = (min(side, longest) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height)) if max(image.size) > longest else image
