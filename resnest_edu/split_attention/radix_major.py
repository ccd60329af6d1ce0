"""Split attention, radix-major: as the released code computes it, in five layers.

Legend: B batch, R radix (splits a cardinal group), K cardinality (cardinal groups), C channels of the output,
H, W height and width. In the patterns below the lower-case letters are r of R, k of K and c of the channels in one
split of one cardinal group.
"""

import torch.fx
from einops import rearrange
from torch import Tensor, nn

from resnest_edu.split_attention.hyperparameters import SplitAttention

# To torch.fx, which traces a network symbolically, it is one operation: einops asks for a tensor.
torch.fx.wrap("rearrange")


class RadixMajorSplitAttention(SplitAttention):
    """Split attention in five layers: a 3×3 convolution into R splits of K cardinal groups, and attention that weighs
    the splits against each other, channel by channel (ResNeSt, Zhang et al., arXiv:2004.08955, section 3.1 and figure
    4).

    Radix-major: all groups with the same r are neighbours, so the input's and the convolution's channels read ``(r k
    c)``, and the output's ``(k c)``. The parameters ``conv, bn0, fc1, bn1, fc2`` have the names, order and shapes of
    the published checkpoints.

    Shape: (B, in_channels, H, W) -> (B, channels, H', W'), H' = ceil(H / stride).

    Arguments and errors are those of :class:`~resnest_edu.split_attention.SplitAttention`; the convolution makes R · C
    channels.

    Example:
        >>> import torch
        >>> from resnest_edu import RadixMajorSplitAttention
        >>> layer = RadixMajorSplitAttention(64, 64, radix=2, cardinality=4)
        >>> x = torch.randn(2, 64, 8, 8)
        >>> layer(x).shape
        torch.Size([2, 64, 8, 8])
        >>> weights = layer.attention(layer.split(x))
        >>> weights.shape, torch.allclose(weights.sum(dim=1), torch.ones(2, 64, 1, 1))
        (torch.Size([2, 2, 64, 1, 1]), True)
    """

    def __init__(self, in_channels: int, channels: int, **options: int) -> None:
        super().__init__(in_channels, channels, **options)
        all_splits = self.radix * channels
        self.conv = nn.Conv2d(
            in_channels,
            all_splits,
            self.kernel_size,
            stride=self.stride,
            padding=self.dilation * (self.kernel_size // 2),
            dilation=self.dilation,
            groups=self.radix * self.cardinality,
            bias=False,
        )
        self.bn0 = nn.BatchNorm2d(all_splits)
        self.fc1 = nn.Conv2d(channels, self.width, 1, groups=self.cardinality)
        self.bn1 = nn.BatchNorm2d(self.width)
        self.fc2 = nn.Conv2d(self.width, all_splits, 1, groups=self.cardinality)

    def split(self, x: Tensor) -> Tensor:
        """The R feature maps to choose from.
        Shape: (B, in_channels, H, W) -> (B, R, C, H', W').
        """
        features = self.bn0(self.conv(x)).relu()
        return rearrange(features, "b (r kc) h w -> b r kc h w", r=self.radix)

    def attention(self, splits: Tensor) -> Tensor:
        """The weight of every split in every channel: for R > 1 they sum to 1 over R, for R = 1 each is a gate in (0,
        1). Shape: (B, R, C, H', W') -> (B, R, C, 1, 1).
        """
        context = splits.sum(dim=1).mean(dim=(2, 3), keepdim=True)  # b (k c) 1 1
        hidden = self.bn1(self.fc1(context)).relu()
        logits = self.fc2(hidden)
        # The dense layers are grouped by k: here k comes first, not r as above.
        by_split = rearrange(
            logits,
            "b (k r c) h w -> b r (k c) h w",
            k=self.cardinality,
            r=self.radix,
        )
        if self.radix == 1:
            return by_split.sigmoid()
        return by_split.softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, in_channels, H, W) -> (B, C, H', W')."""
        splits = self.split(x)
        return (self.attention(splits) * splits).sum(dim=1)
