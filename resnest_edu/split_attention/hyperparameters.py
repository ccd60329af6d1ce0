"""The hyperparameters of split attention, which both layouts share, and their checks."""

from torch import nn

from resnest_edu.arguments import require_divisible, require_positive_int


def attention_width(in_channels: int, radix: int, reduction: int) -> int:
    """Channels between the two dense layers: max(in_channels · R // reduction, 32), as in the released code.

    Args:
        in_channels: channels of the input.
        radix: R.
        reduction: how much narrower than in_channels · R.
    """
    return max(in_channels * radix // reduction, 32)


class SplitAttention(nn.Module):
    """The arguments that both layouts share, and their checks. Build one of the two instead:
    :class:`~resnest_edu.RadixMajorSplitAttention` or :class:`~resnest_edu.CardinalityMajorSplitAttention`.

    Args:
        in_channels: channels of the input; each split reads in_channels / (R · K).
        channels: C, channels of the output; each cardinal group makes C / K of them.
        radix: R, the number of splits in a cardinal group. With R = 1 the softmax over splits becomes a sigmoid.
        cardinality: K, the number of cardinal groups.
        kernel_size: side of the convolutions' kernels, odd.
        stride: stride of the convolutions.
        dilation: dilation of the convolutions; the padding follows it, so it does not change the size.
        reduction: how much narrower the hidden dense layers are, all K taken together, than in_channels · R (never
            below 32).

    Attributes:
        arguments: all of them by name.
        radix: R.
        cardinality: K.
        width: channels between the dense layers, :func:`attention_width`.

    Raises:
        ValueError: an argument is not a positive integer, ``kernel_size`` is even, ``in_channels`` is not divisible by
            R · K, or ``channels`` or the attention width is not divisible by K.
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
        self.radix, self.cardinality = radix, cardinality
        self.kernel_size, self.stride, self.dilation = kernel_size, stride, dilation
        self.width = attention_width(in_channels, radix, reduction)
        require_divisible("in_channels", in_channels, "radix * cardinality", radix * cardinality)
        require_divisible("channels", channels, "cardinality", cardinality)
        require_divisible("attention width", self.width, "cardinality", cardinality)
