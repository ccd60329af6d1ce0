"""Split attention, in the two layouts that its channels can have.

Legend: B batch, R radix (splits a cardinal group), K cardinality (cardinal groups), C channels of the output,
H, W height and width. In the patterns below the lower-case letters are r of R, k of K and c of the channels in one
split of one cardinal group.

Both layouts compute the same function; :mod:`resnest_edu.layouts` converts the one into the other.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from resnest_edu.arguments import require_divisible, require_positive_int


def attention_width(in_channels: int, radix: int, reduction: int) -> int:
    """Channels between the two dense layers: max(in_channels · R // reduction, 32), as in the released code.

    Args:
        in_channels: channels of the input.
        radix: R.
        reduction: how much narrower than in_channels · R.

    Example:
        >>> from resnest_edu.split_attention import attention_width
        >>> [attention_width(channels, radix=2, reduction=4) for channels in (32, 64, 256)]
        [32, 32, 128]
    """
    return max(in_channels * radix // reduction, 32)


class SplitAttention(nn.Module):
    """The arguments that both layouts share, and their checks. Build one of the two classes below instead.

    Attributes:
        arguments: all of them by name: ``in_channels``, ``channels``, ``radix``, ``cardinality``, ``kernel_size``,
            ``stride``, ``dilation``, ``reduction``.
        radix: R.
        cardinality: K.
        width: channels between the dense layers, :func:`attention_width`.

    Raises:
        ValueError: as in :class:`RadixMajorSplitAttention`.

    Example:
        >>> from resnest_edu import RadixMajorSplitAttention
        >>> from resnest_edu.split_attention import SplitAttention
        >>> layer = RadixMajorSplitAttention(64, 64, radix=2, cardinality=4)
        >>> isinstance(layer, SplitAttention), layer.radix, layer.cardinality, layer.width
        (True, 2, 4, 32)
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        radix: int,
        cardinality: int,
        kernel_size: int,
        stride: int,
        dilation: int,
        reduction: int,
    ) -> None:
        super().__init__()
        self.arguments = {
            "in_channels": in_channels,
            "channels": channels,
            "radix": radix,
            "cardinality": cardinality,
            "kernel_size": kernel_size,
            "stride": stride,
            "dilation": dilation,
            "reduction": reduction,
        }
        require_positive_int(**self.arguments)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size (={kernel_size}) must be odd, so that the padding is symmetric")
        self.radix = radix
        self.cardinality = cardinality
        self.width = attention_width(in_channels, radix, reduction)
        require_divisible("in_channels", in_channels, "radix * cardinality", radix * cardinality)
        require_divisible("channels", channels, "cardinality", cardinality)
        require_divisible("attention width", self.width, "cardinality", cardinality)


class Split(nn.Module):
    """One split of one cardinal group: a convolution, batch norm, ReLU.

    Shape: (B, in_channels, H, W) -> (B, channels, H', W'), where
    H' = ceil(H / stride).

    Example:
        >>> import torch
        >>> from resnest_edu.split_attention import Split
        >>> split = Split(16, 32, kernel_size=3, stride=2, dilation=1)
        >>> split(torch.randn(2, 16, 8, 8)).shape
        torch.Size([2, 32, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel_size: int,
        stride: int,
        dilation: int,
    ) -> None:
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

    Example:
        >>> import torch
        >>> from resnest_edu.split_attention import CardinalGroup, Split
        >>> splits = [Split(8, 32, kernel_size=3, stride=1, dilation=1) for _ in range(2)]
        >>> group = CardinalGroup(splits, channels=32, width=16)
        >>> group(torch.randn(2, 2 * 8, 4, 4)).shape
        torch.Size([2, 32, 4, 4])
    """

    def __init__(
        self,
        splits: list[Split],
        channels: int,
        width: int,
    ) -> None:
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
        logits = self.fc2(hidden).chunk(len(splits), dim=1)  # G(s)
        if len(splits) == 1:
            return [logits[0].sigmoid()]
        return list(torch.stack(logits).softmax(dim=0).unbind())  # a

    def forward(self, x: Tensor) -> Tensor:
        """V, the weighted sum of the splits."""
        parts = x.chunk(len(self.splits), dim=1)  # b (r c) h w
        splits = [self.splits[r](parts[r]) for r in range(len(parts))]  # U
        a = self.attention(splits)
        weighted = [a[r] * splits[r] for r in range(len(splits))]
        return torch.stack(weighted).sum(dim=0)  # V


class CardinalityMajorSplitAttention(SplitAttention):
    """Split attention as the paper's figure 2 draws it: K cardinal groups side by
    side, each with R splits and a pair of dense layers of its own (ResNeSt, Zhang et
    al., arXiv:2004.08955, section 3.1).

    The layout to read. :class:`RadixMajorSplitAttention` computes the same in five
    layers.

    Cardinality-major: everything of one cardinal group lies together, so the input's
    channels read ``(k r c)``, and the output's ``(k c)``.

    Shape: (B, in_channels, H, W) -> (B, channels, H', W'), H' = ceil(H / stride).

    Args:
        in_channels: channels of the input; each split reads in_channels / (R · K).
        channels: C, channels of the output; each cardinal group makes C / K of them.
        radix: R, the number of splits in a cardinal group. With R = 1 the softmax
            over splits becomes a sigmoid.
        cardinality: K, the number of cardinal groups.
        kernel_size: side of the convolutions' kernels, odd.
        stride: stride of the convolutions.
        dilation: dilation of the convolutions; the padding follows it, so it does
            not change the size.
        reduction: how much narrower the hidden dense layers are, all K taken
            together, than in_channels · R (never below 32).

    Raises:
        ValueError: an argument is not a positive integer, ``kernel_size`` is even,
            ``in_channels`` is not divisible by R · K, or ``channels`` or the
            attention width is not divisible by K.

    Example:
        >>> import torch
        >>> from resnest_edu import CardinalityMajorSplitAttention
        >>> layer = CardinalityMajorSplitAttention(64, 64, radix=2, cardinality=4)
        >>> layer(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 8, 8])
        >>> len(layer.groups), len(layer.groups[0].splits)
        (4, 2)
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
        super().__init__(
            in_channels,
            channels,
            radix,
            cardinality,
            kernel_size,
            stride,
            dilation,
            reduction,
        )
        c_in = in_channels // (radix * cardinality)
        c = channels // cardinality
        width = self.width // cardinality
        self.groups = nn.ModuleList()
        for _ in range(cardinality):
            options = kernel_size, stride, dilation
            splits = [Split(c_in, c, *options) for _ in range(radix)]
            self.groups.append(CardinalGroup(splits, c, width))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, in_channels, H, W) -> (B, C, H', W')."""
        parts = x.chunk(self.cardinality, dim=1)  # b (k r c) h w
        outputs = [self.groups[k](parts[k]) for k in range(self.cardinality)]
        return torch.cat(outputs, dim=1)  # b (k c) h w


class RadixMajorSplitAttention(SplitAttention):
    """Split attention in five layers: a 3×3 convolution into R splits of K cardinal
    groups, and attention that weighs the splits against each other, channel by
    channel (ResNeSt, Zhang et al., arXiv:2004.08955, section 3.1 and figure 4).

    Radix-major: all groups with the same r are neighbours, so the input's and the
    convolution's channels read ``(r k c)``, and the output's ``(k c)``. The
    parameters ``conv, bn0, fc1, bn1, fc2`` have the names, order and shapes of the
    published checkpoints.

    Shape: (B, in_channels, H, W) -> (B, channels, H', W'), H' = ceil(H / stride).

    Args:
        in_channels: channels of the input.
        channels: C, channels of the output; the convolution makes R · C.
        radix: R, the number of splits. With R = 1 the softmax over splits becomes a
            sigmoid.
        cardinality: K, the number of cardinal groups.
        kernel_size: side of the convolution's kernel, odd.
        stride: stride of the convolution.
        dilation: dilation of the convolution; the padding follows it, so it does not
            change the size.
        reduction: how much narrower the hidden dense layer is than in_channels · R
            (never below 32).

    Raises:
        ValueError: an argument is not a positive integer, ``kernel_size`` is even,
            ``in_channels`` is not divisible by R · K, or ``channels`` or the
            attention width is not divisible by K.

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
        super().__init__(
            in_channels,
            channels,
            radix,
            cardinality,
            kernel_size,
            stride,
            dilation,
            reduction,
        )
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
        self.fc1 = nn.Conv2d(channels, self.width, 1, groups=cardinality)
        self.bn1 = nn.BatchNorm2d(self.width)
        self.fc2 = nn.Conv2d(self.width, radix * channels, 1, groups=cardinality)

    def split(self, x: Tensor) -> Tensor:
        """The R feature maps to choose from.
        Shape: (B, in_channels, H, W) -> (B, R, C, H', W')."""
        features = self.bn0(self.conv(x)).relu()
        return rearrange(features, "b (r kc) h w -> b r kc h w", r=self.radix)

    def attention(self, splits: Tensor) -> Tensor:
        """The weight of every split in every channel: for R > 1 they sum to 1 over
        R, for R = 1 each is a gate in (0, 1).
        Shape: (B, R, C, H', W') -> (B, R, C, 1, 1)."""
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


@torch.no_grad()
def record_attention(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The attention of every radix-major split-attention module while ``model`` looks at ``x``, by the module's name.

    Put the model in evaluation mode first, or its batch norms use (and move with) the statistics of ``x``.

    Shape: ``x`` as ``model`` wants it -> (B, R, C) on the CPU for each module.

    Args:
        model: a network in the radix-major layout.
        x: images for it.

    Raises:
        ValueError: ``model`` contains no such module.

    Example:
        >>> import torch
        >>> from resnest_edu import resnest11_small
        >>> from resnest_edu.split_attention import record_attention
        >>> model = resnest11_small(num_classes=10).eval()
        >>> attention = record_attention(model, torch.randn(4, 3, 32, 32))
        >>> for name, weights in attention.items():
        ...     print(name, tuple(weights.shape))
        layer1.0.conv2 (4, 2, 16)
        layer2.0.conv2 (4, 2, 32)
        layer3.0.conv2 (4, 2, 64)
    """
    recorded: dict[str, Tensor] = {}

    def keep(name: str, module: RadixMajorSplitAttention, x: Tensor) -> None:
        recorded[name] = module.attention(module.split(x)).flatten(2).cpu()

    handles = [
        module.register_forward_pre_hook(lambda module, inputs, name=name: keep(name, module, inputs[0]))
        for name, module in model.named_modules()
        if isinstance(module, RadixMajorSplitAttention)
    ]
    if not handles:
        raise ValueError(f"model (={type(model).__name__}) must contain split attention in the radix-major layout")
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return recorded
