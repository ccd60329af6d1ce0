"""Selective kernels: branches with kernels of different size, and for every channel a choice between them.

Legend: B batch, M branches, C channels of the output, H, W height and width, d width of the hidden dense layer.
"""

import torch.fx
from einops import rearrange
from torch import Tensor, nn

from resnest_edu.arguments import require_divisible, require_positive_int

# To torch.fx, which traces a network symbolically, it is one operation: einops asks for a tensor.
torch.fx.wrap("rearrange")


class SelectiveKernel(nn.Module):
    """Selective-kernel convolution (Li et al., arXiv:1903.06586, section 3.1, equations 1 to 6).

    Split: M branches look at the same input, each a grouped 3×3 convolution, batch norm and ReLU. The taps of branch m
    = 1, …, M lie m pixels apart, so it spans 3×3, 5×5, 7×7, … pixels for the same number of weights. Fuse: sum the
    branches, average over all positions, one dense layer to d channels with batch norm and ReLU. Select: one more dense
    layer to M logits a channel, a softmax over the M, and the sum of the branches with these weights.

    The dense layers are 1×1 convolutions without bias, and their width is d = max(C // reduction, min_width), of the
    *output's* channels C.

    Shape: (B, in_channels, H, W) -> (B, C, H', W'), where H' = ceil(H / stride).

    Args:
        in_channels: channels of the input.
        out_channels: C, channels of the output.
        branches: M, at least 2; 2 in the paper's networks.
        reduction: how much narrower the hidden dense layer is than C; the paper's r.
        min_width: the least width of the hidden dense layer; the paper's L.
        groups: groups of each branch's convolution; the paper's G.
        stride: stride of each branch's convolution.

    Raises:
        ValueError: an argument is not a positive integer, ``branches`` is 1, or ``in_channels`` or ``out_channels`` is
            not divisible by ``groups``.

    Example:
        >>> import torch
        >>> from resnest_edu import SelectiveKernel
        >>> layer = SelectiveKernel(64, 128, stride=2)
        >>> x = torch.randn(2, 64, 8, 8)
        >>> layer(x).shape
        torch.Size([2, 128, 4, 4])
        >>> layer.attention(layer.split(x)).shape  # a weight for each of two branches
        torch.Size([2, 2, 128, 1, 1])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        branches: int = 2,
        reduction: int = 16,
        min_width: int = 32,
        groups: int = 32,
        stride: int = 1,
    ) -> None:
        super().__init__()
        require_positive_int(
            in_channels=in_channels,
            out_channels=out_channels,
            branches=branches,
            reduction=reduction,
            min_width=min_width,
            groups=groups,
            stride=stride,
        )
        if branches == 1:
            raise ValueError("branches (=1) must be at least 2, or nothing is chosen")
        require_divisible("in_channels", in_channels, "groups", groups)
        require_divisible("out_channels", out_channels, "groups", groups)

        def branch(spacing: int) -> nn.Sequential:
            # Padding equal to the dilation keeps all branches the same size.
            convolution = nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size=3,
                stride=stride,
                padding=spacing,
                dilation=spacing,
                groups=groups,
                bias=False,
            )
            norm = nn.BatchNorm2d(out_channels)
            return nn.Sequential(convolution, norm, nn.ReLU())

        width = max(out_channels // reduction, min_width)
        self.branches = nn.ModuleList(branch(m) for m in range(1, branches + 1))
        self.fc1 = nn.Conv2d(out_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.fc2 = nn.Conv2d(width, branches * out_channels, 1, bias=False)

    def split(self, x: Tensor) -> Tensor:
        """The M feature maps to choose from, smallest kernel first.
        Shape: (B, in_channels, H, W) -> (B, M, C, H', W').
        """
        return torch.stack([branch(x) for branch in self.branches], dim=1)

    def attention(self, splits: Tensor) -> Tensor:
        """The weight of every branch in every channel; over branches they sum to 1.
        Shape: (B, M, C, H', W') -> (B, M, C, 1, 1).
        """
        context = splits.sum(dim=1).mean(dim=(2, 3), keepdim=True)  # b c 1 1
        hidden = self.bn1(self.fc1(context)).relu()  # b d 1 1
        logits = self.fc2(hidden)
        branches = len(self.branches)
        by_branch = rearrange(logits, "b (m c) h w -> b m c h w", m=branches)
        return by_branch.softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, in_channels, H, W) -> (B, C, H', W')."""
        splits = self.split(x)
        return (self.attention(splits) * splits).sum(dim=1)
