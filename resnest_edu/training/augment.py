"""What happens to a batch of images between the data set and the network, on the network's device.

Legend: B batch, H height, W width.
"""

import torch
from torch import Tensor

# Statistics of ImageNet's training images, the convention of every published checkpoint.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalize(images: Tensor) -> Tensor:
    """Bytes to network input: (x / 255 - mean) / std for each colour.

    Shape: uint8 (B, 3, H, W) -> float32 (B, 3, H, W).
    """
    mean = torch.tensor(MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(3, 1, 1)
    return (images / 255 - mean) / std


def flip_and_shift(images: Tensor, *, flip: bool, shift: int, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability 1/2 and move it by up to ``shift`` pixels each way.

    What a shift uncovers repeats the border. Every image draws its own mirror and shift.

    Shape: (B, 3, H, W) -> (B, 3, H, W), any dtype.
    """
    batch, _, height, width = images.shape
    if not flip and not shift:
        return images

    def draw(low: int, high: int) -> Tensor:  # on the CPU, so that a seed means the same on every device
        return torch.randint(low, high + 1, (batch, 1), generator=generator).to(images.device)

    rows = torch.arange(height, device=images.device) + draw(-shift, shift)  # b h
    columns = torch.arange(width, device=images.device) + draw(-shift, shift)  # b w
    if flip:
        columns = torch.where(draw(0, 1) == 1, width - 1 - columns, columns)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    which = torch.arange(batch, device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
