"""A small pyramid of features, to build detectors on."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from resnest_edu import create_model


class SmallPyramid(nn.Module):
    def __init__(self, channels: int = 16, extra_level: bool = True) -> None:
        super().__init__()
        self.body = create_model("resnest11_small", features_only=True)
        widths, strides = list(self.body.channels.values()), list(self.body.strides.values())
        extra = LastLevelMaxPool() if extra_level else None
        self.fpn = FeaturePyramidNetwork(widths, channels, extra)
        self.out_channels, self.extra_level = channels, extra_level
        strides += [2 * strides[-1]] * extra_level
        self.strides = {f"P{stride.bit_length() - 1}": stride for stride in strides}

    def forward(self, x: Tensor) -> "OrderedDict[str, Tensor]":
        stages = self.body(x)
        features = self.fpn(OrderedDict((f"C{i}", stage) for i, stage in enumerate(stages.values())))
        return OrderedDict(zip(self.strides, features.values(), strict=True))


def pictures() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two random images of different sizes, with boxes, labels and masks."""
    torch.manual_seed(5)
    boxes = [torch.tensor([[10.0, 10, 50, 60], [3, 4, 30, 20]]), torch.tensor([[20.0, 5, 60, 55]])]
    labels = [torch.tensor([1, 3]), torch.tensor([2])]
    sizes = [(96, 96), (64, 80)]
    masks = [torch.zeros(len(some), *size, dtype=torch.uint8) for some, size in zip(boxes, sizes, strict=True)]
    for some, of_image in zip(boxes, masks, strict=True):
        for (left, top, right, bottom), mask in zip(some.int().tolist(), of_image, strict=True):
            mask[top:bottom, left : (left + right) // 2] = 1
    targets = [
        dict(zip(("boxes", "labels", "masks"), item, strict=True)) for item in zip(boxes, labels, masks, strict=True)
    ]
    return [torch.randn(3, *size) for size in sizes], targets
