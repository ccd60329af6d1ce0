"""Squeeze-and-excitation: every channel is scaled by a gate that has seen the whole image.

Legend: B batch, C channels, H height, W width, r reduction.
"""

from torch import Tensor, nn

from resnest_edu.arguments import require_divisible, require_positive_int


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation block (Hu et al., arXiv:1709.01507, equations 2 to 4).

    Squeeze: average each channel over all positions. Excite: two dense layers, C -> C/r -> C, the first followed by a
    ReLU, the second by a sigmoid. Scale: multiply each channel by its gate.

    The dense layers are 1×1 convolutions with bias, ``fc1`` and ``fc2``: 2C²/r weights and C/r + C biases. They have
    the names and shapes of those in :class:`torchvision.ops.SqueezeExcitation`, whose weights load strictly.

    Shape: (B, C, H, W) -> (B, C, H, W).

    Args:
        channels: C, the channels of the input and of the output.
        reduction: r, by which the hidden layer is narrower than C; 16 in the paper.

    Raises:
        ValueError: an argument is not a positive integer, or ``channels`` is not divisible by ``reduction``.

    Example:
        >>> import torch
        >>> from resnest_edu import SqueezeExcitation
        >>> block = SqueezeExcitation(64, reduction=16)
        >>> x = torch.randn(2, 64, 8, 8)
        >>> block(x).shape
        torch.Size([2, 64, 8, 8])
        >>> torch.equal(block(x), block.gate(x) * x)
        True
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        require_positive_int(channels=channels, reduction=reduction)
        require_divisible("channels", channels, "reduction", reduction)
        self.fc1 = nn.Conv2d(channels, channels // reduction, kernel_size=1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, kernel_size=1)

    def gate(self, x: Tensor) -> Tensor:
        """The gates, each in (0, 1). Shape: (B, C, H, W) -> (B, C, 1, 1)."""
        squeezed = x.mean(dim=(2, 3), keepdim=True)  # b c 1 1
        hidden = self.fc1(squeezed).relu()  # b c/r 1 1
        return self.fc2(hidden).sigmoid()  # b c 1 1

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, C, H, W) -> (B, C, H, W)."""
        return x * self.gate(x)
