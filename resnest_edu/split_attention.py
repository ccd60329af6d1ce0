"""Split attention in the radix-major layout, the one of the published checkpoints.

Legend: B batch, R radix (splits a cardinal group), K cardinality (cardinal groups), C channels of the output,
H, W height and width. In the patterns below the lower-case letters are r of R, k of K and c of C/K.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from resnest_edu.arguments import require_divisible, require_positive_int


def attention_width(in_channels: int, radix: int, reduction: int) -> int:
    """Channels between the two dense layers: max(in_channels · R // reduction, 32), as in the released code."""
    return max(in_channels * radix // reduction, 32)


class RadixMajorSplitAttention(nn.Module):
    """A 3×3 convolution into R splits of K cardinal groups, and attention that weighs the splits against
    each other, channel by channel (ResNeSt, Zhang et al., arXiv:2004.08955, section 3.1 and figure 4).

    Radix-major: all groups with the same r are neighbours, so the convolution's channels read ``(r k c)``.
    The parameters ``conv, bn0, fc1, bn1, fc2`` have the names, order and shapes of the published checkpoints.

    Shape: (B, in_channels, H, W) -> (B, channels, H', W'), where H' = ceil(H / stride) for odd kernels.

    Args:
        in_channels: channels of the input.
        channels: C, channels of the output; the convolution makes R · C.
        radix: R, the number of splits. With R = 1 the softmax over splits becomes a sigmoid.
        cardinality: K, the number of cardinal groups.
        kernel_size: side of the convolution's kernel, odd.
        stride: stride of the convolution.
        dilation: dilation of the convolution; the padding follows it, so it does not change the size.
        reduction: how much narrower the hidden dense layer is than in_channels · R (never below 32).

    Raises:
        ValueError: an argument is not a positive integer, ``kernel_size`` is even, ``in_channels`` is not
            divisible by R · K, or ``channels`` or the attention width is not divisible by K.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        radix: int = 2,
        cardinality: int = 1,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        reduction: int = 4,
    ) -> None:
        super().__init__()
        require_positive_int(
            in_channels=in_channels,
            channels=channels,
            radix=radix,
            cardinality=cardinality,
            kernel_size=kernel_size,
            stride=stride,
            dilation=dilation,
            reduction=reduction,
        )
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size (={kernel_size}) must be odd, so that the padding is symmetric")
        width = attention_width(in_channels, radix, reduction)
        require_divisible("in_channels", in_channels, "radix * cardinality", radix * cardinality)
        require_divisible("channels", channels, "cardinality", cardinality)
        require_divisible("attention width", width, "cardinality", cardinality)
        self.radix = radix
        self.cardinality = cardinality
        self.conv = nn.Conv2d(
            in_channels,
            radix * channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=radix * cardinality,
            bias=False,
        )
        self.bn0 = nn.BatchNorm2d(radix * channels)
        self.fc1 = nn.Conv2d(channels, width, 1, groups=cardinality)
        self.bn1 = nn.BatchNorm2d(width)
        self.fc2 = nn.Conv2d(width, radix * channels, 1, groups=cardinality)

    def split(self, x: Tensor) -> Tensor:
        """The R feature maps to choose from. Shape: (B, in_channels, H, W) -> (B, R, C, H', W')."""
        features = self.bn0(self.conv(x)).relu()
        return rearrange(features, "b (r kc) h w -> b r kc h w", r=self.radix)

    def attention(self, splits: Tensor) -> Tensor:
        """The weight of every split in every channel: for R > 1 they sum to 1 over R, for
        R = 1 each is a gate in (0, 1). Shape: (B, R, C, H', W') -> (B, R, C, 1, 1)."""
        context = splits.sum(dim=1).mean(dim=(2, 3), keepdim=True)  # b (k c) 1 1
        hidden = self.bn1(self.fc1(context)).relu()
        logits = self.fc2(hidden)
        # The dense layers are grouped by k, so here k comes first, unlike in the features.
        by_split = rearrange(
            logits,
            "b (k r c) h w -> b r (k c) h w",
            k=self.cardinality,
            r=self.radix,
        )
        return by_split.softmax(dim=1) if self.radix > 1 else by_split.sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, in_channels, H, W) -> (B, C, H', W')."""
        splits = self.split(x)
        return (self.attention(splits) * splits).sum(dim=1)


@torch.no_grad()
def record_attention(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The attention of every split-attention module while ``model`` looks at ``x``, by the module's name.

    Put the model in evaluation mode first, or its batch norms use (and move with) the statistics of ``x``.

    Shape: ``x`` as ``model`` wants it -> (B, R, C) on the CPU for each module.
    """
    recorded: dict[str, Tensor] = {}

    def keep(name: str, module: RadixMajorSplitAttention, x: Tensor) -> None:
        recorded[name] = module.attention(module.split(x)).flatten(2).cpu()

    handles = [
        module.register_forward_pre_hook(lambda module, inputs, name=name: keep(name, module, inputs[0]))
        for name, module in model.named_modules()
        if isinstance(module, RadixMajorSplitAttention)
    ]
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return recorded
