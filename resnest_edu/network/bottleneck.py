"""The bottleneck: a narrow 1×1 convolution, split attention, a widening 1×1 convolution, and a shortcut.

Legend: B batch, C channels, H height, W width. Parameter names are those of the published checkpoints.
"""

from torch import Tensor, nn

from resnest_edu.arguments import require_divisible, require_positive_int, require_probability
from resnest_edu.network.regularization import DropBlock
from resnest_edu.split_attention import RadixMajorSplitAttention

EXPANSION = 4
"""How many times wider than its ``planes`` a bottleneck's output is."""


class Bottleneck(nn.Module):
    """1×1 convolution, split attention, 1×1 convolution, around a shortcut (arXiv:2004.08955, figure 2).

    The shortcut is the identity where shapes agree; otherwise it averages before it projects, as in ResNet-D
    (arXiv:1812.01187). A block with a stride pools by average, never by a strided convolution. The network that is made
    of such blocks sets the last batch norm to zero at the start (arXiv:1706.02677).

    Shape: (B, in_channels, H, W) -> (B, 4 · planes, H', W'), where H' = ceil(H / stride).

    Args:
        in_channels: channels of the input.
        planes: nominal width; the block's inner width is int(planes · base_width / 64) · cardinality.
        stride: by how much the block shrinks its input.
        radix: R, splits a cardinal group.
        cardinality: K, cardinal groups.
        base_width: channels of one cardinal group where ``planes`` is 64.
        pool_first: average-pool before the split attention instead of after it.
        dilation: dilation of the split attention's convolution.
        always_pool: average over 3×3 positions even where the stride is 1. The released network does so in the first
            block of a stage whose stride was traded for dilation.
        dropblock: probability of :class:`~resnest_edu.network.regularization.DropBlock`, which acts where the released
            Gluon code has it: on ``bn1``, on the split attention's output, on ``bn3``.
        stochastic_depth: probability that training skips the branch, and leaves the shortcut alone, for an image.

    Raises:
        ValueError: an argument is not a positive integer, the widths do not divide into R · K groups, or a probability
            is not in [0, 1).

    Example:
        >>> import torch
        >>> from resnest_edu import Bottleneck
        >>> block = Bottleneck(64, planes=32, stride=2, radix=2)
        >>> block(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 128, 4, 4])
        >>> type(block.conv2).__name__
        'RadixMajorSplitAttention'
    """

    def __init__(
        self,
        in_channels: int,
        planes: int,
        *,
        stride: int = 1,
        radix: int = 2,
        cardinality: int = 1,
        base_width: int = 64,
        pool_first: bool = False,
        dilation: int = 1,
        always_pool: bool = False,
        dropblock: float = 0.0,
        stochastic_depth: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive_int(
            in_channels=in_channels,
            planes=planes,
            stride=stride,
            radix=radix,
            cardinality=cardinality,
            base_width=base_width,
            dilation=dilation,
        )
        require_probability(dropblock=dropblock, stochastic_depth=stochastic_depth)
        width = planes * base_width // 64 * cardinality
        if width < 1:
            product = f"planes (={planes}) * base_width (={base_width})"
            raise ValueError(f"{product} must be at least 64")
        out_channels = EXPANSION * planes
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = self.middle(width, radix, cardinality, dilation)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        pools = stride > 1 or always_pool
        self.pool = nn.AvgPool2d(3, stride, padding=1) if pools else nn.Identity()
        self.pool_first = pool_first
        self.dropblock = DropBlock(dropblock) if dropblock else nn.Identity()
        self.stochastic_depth: nn.Module = nn.Identity()
        if stochastic_depth:
            from torchvision.ops import StochasticDepth  # here, since to import torchvision takes seconds

            self.stochastic_depth = StochasticDepth(stochastic_depth, "row")
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def middle(self, width: int, radix: int, cardinality: int, dilation: int) -> nn.Module:
        """What stands between the two 1×1 convolutions."""
        require_divisible(
            "the inner width, planes * base_width // 64 * cardinality,",
            width,
            "radix * cardinality",
            radix * cardinality,
        )
        return RadixMajorSplitAttention(width, width, radix=radix, cardinality=cardinality, dilation=dilation)

    def branch(self, x: Tensor) -> Tensor:
        """What the shortcut is added to.
        Shape: (B, in_channels, H, W) -> (B, 4 · planes, H', W').
        """
        out = self.dropblock(self.bn1(self.conv1(x))).relu()
        if self.pool_first:
            out = self.dropblock(self.conv2(self.pool(out)))
        else:
            out = self.pool(self.dropblock(self.conv2(out)))
        return self.dropblock(self.bn3(self.conv3(out)))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, in_channels, H, W) -> (B, 4 · planes, H', W')."""
        return (self.stochastic_depth(self.branch(x)) + self.downsample(x)).relu()
