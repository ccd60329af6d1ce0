"""A small pyramid of features, to build detectors on, and pictures for them."""

import torch
from torch import Tensor

from resnest_edu.transfer import Pyramid, create_backbone


def small_pyramid() -> Pyramid:
    return Pyramid(create_backbone("resnest11_small"), out_channels=16)


def pictures() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two random images of different sizes, with boxes, labels and masks."""
    torch.manual_seed(5)
    boxes = [torch.tensor([[10.0, 10, 50, 60], [3, 4, 30, 20]]), torch.tensor([[20.0, 5, 60, 55]])]
    labels = [torch.tensor([1, 3]), torch.tensor([2])]
    sizes = [(96, 96), (64, 80)]
    targets = []
    for corners, classes, size in zip(boxes, labels, sizes, strict=True):
        masks = torch.zeros(len(corners), *size, dtype=torch.uint8)
        for (left, top, right, bottom), mask in zip(corners.int().tolist(), masks, strict=True):
            mask[top:bottom, left : (left + right) // 2] = 1
        targets.append({"boxes": corners, "labels": classes, "masks": masks})
    return [torch.randn(3, *size) for size in sizes], targets
