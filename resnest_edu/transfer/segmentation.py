"""Semantic segmentation: a class for every pixel, by DeepLabV3's head on the backbone.

Legend: B batch, C channels, H height, W width. Class 0 is the background.
"""

from torch import Tensor, nn
from torchvision.models.segmentation import DeepLabV3
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.models.segmentation.fcn import FCNHead

from resnest_edu.arguments import plain, require_positive_int
from resnest_edu.transfer.backbone import StageBackbone

REACH = (96, 192, 288)
"""How far apart, in pixels of the image, the taps of DeepLabV3's three atrous convolutions are: rates of 12, 24 and 36
at an output stride of 8, of 6, 12 and 18 at 16."""


class LastStages(nn.Module):
    """A backbone's last two stages, under the names that torchvision's segmenters read.

    Shape: (B, 3, H, W) -> {"out": (B, C, H', W'), "aux": …}, the last stage and the one before.
    """

    def __init__(self, stages: StageBackbone) -> None:
        super().__init__()
        self.stages = stages

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Shape: (B, 3, H, W) -> one (B, C, H', W') for each of the two."""
        features = list(self.stages(x).values())
        return dict(zip(("out", "aux"), reversed(features), strict=False))


def create_segmenter(
    backbone: StageBackbone,
    num_classes: int,
    *,
    auxiliary: bool = True,
    atrous_rates: tuple[int, ...] | None = None,
    head_width: int = 256,
) -> DeepLabV3:
    """DeepLabV3 (arXiv:1706.05587) on a backbone: 3×3 convolutions of several atrous rates and the mean over the image
    look at the last stage side by side, and what they see becomes a class for every pixel.

    The network is torchvision's, with its names. It returns, in training and in evaluation mode, ``{"out": logits}``,
    and ``"aux"`` if it has the auxiliary head: a small one on the stage before last, whose loss helps training
    (arXiv:1612.01105). The logits are interpolated to the size of the image.

    The head's batch norms are trained even where the backbone's are frozen. One of them, after the mean over the image,
    sees a single position: a step of training needs at least two images.

    Shape: (B, 3, H, W) -> {"out": (B, num_classes, H, W), "aux": the same}.

    Args:
        backbone: what to build on; it is not copied. Its last stage must keep at least 1/16 of the image's size, for
            which most of the family need ``create_backbone(…, output_stride=16)`` or 8.
        num_classes: outputs for every pixel, the background among them.
        auxiliary: add the auxiliary head.
        atrous_rates: of the head's 3×3 convolutions. Where they are not given, the paper's: (6, 12, 18) at an output
            stride of 16, and doubled at 8. They are made for images of 513 pixels. Where a rate reaches the side of the
            last stage's map, all taps but the centre one lie in the padding, and what is left is a 1×1 convolution
            (section 3.3 there): small images want smaller rates.
        head_width: channels of the head's convolutions, 256 in the paper.

    Raises:
        ValueError: ``num_classes`` is not an integer of at least 2, a rate or the width is not a positive integer or
            there is no rate, the backbone shrinks the image too much, or has no stage for the auxiliary head.

    Example:
        >>> import torch
        >>> from resnest_edu.transfer import create_backbone, create_segmenter
        >>> backbone = create_backbone("resnest11_small", output_stride=8)
        >>> segmenter = create_segmenter(backbone, 9, atrous_rates=(1, 2, 4))
        >>> logits = segmenter(torch.randn(2, 3, 96, 64))
        >>> {name: tuple(x.shape) for name, x in logits.items()}
        {'out': (2, 9, 96, 64), 'aux': (2, 9, 96, 64)}
    """
    if type(plain(num_classes)) is not int or num_classes < 2:
        at_least = "an integer of at least 2, the background among them"
        raise ValueError(f"num_classes (={num_classes!r}) must be {at_least}")
    stride = list(backbone.strides.values())[-1]
    if stride > 16:
        advice = "build the backbone with output_stride=16 or 8"
        raise ValueError(f"backbone's last stride (={stride}) must be at most 16: {advice}")
    channels = list(backbone.channels.values())
    if auxiliary and len(channels) < 2:
        raise ValueError("auxiliary (=True) must be False for a backbone with a single stage")
    if atrous_rates is None:
        atrous_rates = tuple(reach // stride for reach in REACH)
    if not atrous_rates or any(type(r) is not int or r < 1 for r in atrous_rates):
        positive = "positive integers, at least one"
        raise ValueError(f"atrous_rates (={atrous_rates!r}) must be {positive}")
    require_positive_int(head_width=head_width)
    head = nn.Sequential(  # torchvision's DeepLabHead, whose width is fixed
        ASPP(channels[-1], atrous_rates, head_width),
        nn.Conv2d(head_width, head_width, 3, padding=1, bias=False),
        nn.BatchNorm2d(head_width),
        nn.ReLU(),
        nn.Conv2d(head_width, num_classes, 1),
    )
    auxiliary_head = FCNHead(channels[-2], num_classes) if auxiliary else None
    return DeepLabV3(LastStages(backbone), head, auxiliary_head)
