"""A small pyramid of features, to build detectors on."""

from collections import OrderedDict

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
