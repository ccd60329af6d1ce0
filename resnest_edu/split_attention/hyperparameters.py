"""The hyperparameters of split attention, which both layouts share, and their checks."""

from torch import nn

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
        ValueError: as in :class:`~resnest_edu.RadixMajorSplitAttention`.

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
