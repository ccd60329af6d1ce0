"""Split attention, cardinality-major: as the paper draws it, a cardinal group at a time.

Legend: B batch, R radix (splits a cardinal group), K cardinality (cardinal groups), C channels of the output,
H, W height and width. In the patterns below the lower-case letters are r of R, k of K and c of the channels in one
split of one cardinal group.
"""

import torch.fx
from einops import rearrange
from torch import Tensor, nn

from resnest_edu.split_attention.hyperparameters import SplitAttention

torch.fx.wrap("rearrange")  # as in the other layout


class Split(nn.Module):
    """One split of one cardinal group: a convolution, batch norm, ReLU.

    Shape: (B, in_channels, H, W) -> (B, channels, H', W'), where H' = ceil(H / stride).
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            bias=False,
        )
        self.bn0 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn0(self.conv(x)).relu()


class CardinalGroup(nn.Module):
    """One cardinal group: its R splits, and the attention that weighs them.

    Shape: (B, R · c_in, H, W) -> (B, C/K, H', W').

    Args:
        splits: the R splits.
        channels: C/K, what each of them emits.
        width: channels of the hidden dense layer.
    """

    def __init__(self, splits: list[Split], channels: int, width: int) -> None:
        super().__init__()
        self.splits = nn.ModuleList(splits)
        self.fc1 = nn.Conv2d(channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.fc2 = nn.Conv2d(width, len(splits) * channels, 1)

    def attention(self, splits: list[Tensor]) -> list[Tensor]:
        """The weights of the R splits, (B, C/K, 1, 1) each."""
        total = torch.stack(splits).sum(dim=0)  # Û
        context = total.mean(dim=(2, 3), keepdim=True)  # s
        hidden = self.bn1(self.fc1(context)).relu()
        logits = rearrange(self.fc2(hidden), "b (r c) h w -> r b c h w", r=len(splits))  # G(s)
        a = logits.sigmoid() if len(splits) == 1 else logits.softmax(dim=0)
        return [a[r] for r in range(len(splits))]

    def forward(self, x: Tensor) -> Tensor:
        """V, the weighted sum of the splits."""
        parts = x.chunk(len(self.splits), dim=1)  # b (r c) h w
        splits = [self.splits[r](parts[r]) for r in range(len(self.splits))]  # U
        a = self.attention(splits)
        weighted = [a[r] * splits[r] for r in range(len(splits))]
        return torch.stack(weighted).sum(dim=0)  # V


class CardinalityMajorSplitAttention(SplitAttention):
    """Split attention as the paper's figure 2 draws it: K cardinal groups side by side, each with R splits and a pair
    of dense layers of its own (ResNeSt, Zhang et al., arXiv:2004.08955, section 3.1).

    The layout to read. :class:`RadixMajorSplitAttention` computes the same in five layers.

    Cardinality-major: everything of one cardinal group lies together, so the input's channels read ``(k r c)``, and the
    output's ``(k c)``.

    Shape: (B, in_channels, H, W) -> (B, channels, H', W'), H' = ceil(H / stride).

    Arguments and errors are those of :class:`~resnest_edu.split_attention.SplitAttention`.

    Example:
        >>> import torch
        >>> from resnest_edu import CardinalityMajorSplitAttention
        >>> layer = CardinalityMajorSplitAttention(64, 64, radix=2, cardinality=4)
        >>> layer(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 8, 8])
        >>> len(layer.groups), len(layer.groups[0].splits)
        (4, 2)
    """

    def __init__(self, in_channels: int, channels: int, **options: int) -> None:
        super().__init__(in_channels, channels, **options)
        c_in = in_channels // (self.radix * self.cardinality)
        c = channels // self.cardinality
        self.groups = nn.ModuleList()
        for _ in range(self.cardinality):
            splits = [Split(c_in, c, self.kernel_size, self.stride, self.dilation) for _ in range(self.radix)]
            self.groups.append(CardinalGroup(splits, c, self.width // self.cardinality))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, in_channels, H, W) -> (B, C, H', W')."""
        parts = x.chunk(self.cardinality, dim=1)  # b (k r c) h w
        outputs = [self.groups[k](parts[k]) for k in range(self.cardinality)]
        return torch.cat(outputs, dim=1)  # b (k c) h w
