"""What the recipes add to a network: DropBlock while it trains, and convolutions that correct for their padding.

Legend: B batch, C channels, H height, W width. Stochastic depth, the third of them, is torchvision's
:class:`~torchvision.ops.StochasticDepth`.
"""

from typing import Any

import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from resnest_edu.arguments import require_positive_int, require_probability


@torch.fx.wrap  # whatever the sizes: to torch.fx, which traces without any, it is one operation
def drop_blocks(x: Tensor, rate: Tensor, block_size: int) -> Tensor:
    """What :class:`DropBlock` does in training."""
    height, width = x.shape[2:]
    size = min(block_size, height - 1 + height % 2, width - 1 + width % 2)  # odd, and no larger than the map
    fits = (height - size + 1) * (width - size + 1)
    gamma = rate.float() / size**2 * height * width / fits
    # In single precision throughout: in half precision the sum below overflows, and nothing at all is kept.
    draws = torch.rand(*x.shape[:2], height - size + 1, width - size + 1, dtype=torch.float32, device=x.device)
    centres = (draws < gamma).float()
    dropped = F.max_pool2d(F.pad(centres, [size // 2] * 4), size, stride=1, padding=size // 2)
    kept = 1 - dropped
    scale = kept.numel() / kept.sum().clamp(min=1)
    return x * (kept * scale).to(x.dtype)


class DropBlock(nn.Module):
    """In training, set square blocks of every feature map to zero and scale up what is left, so that the mean stays
    (DropBlock, Ghiasi et al., arXiv:1810.12890, algorithm 1). In evaluation mode, nothing.

    A block's centre falls on each position where the block fits into the map with the same probability γ, chosen so
    that about ``probability`` of the values go; a map smaller than the block gets blocks of its own size.

    Shape: (B, C, H, W) -> (B, C, H, W).

    Args:
        probability: about how many of the values to drop, in [0, 1). May be changed while training, to ramp it up.
        block_size: side of the blocks, odd.

    Raises:
        ValueError: ``probability`` or ``block_size`` is not as above.

    Example:
        >>> import torch
        >>> from resnest_edu import DropBlock
        >>> _ = torch.manual_seed(0)
        >>> drop = DropBlock(0.4, block_size=3)
        >>> int((drop(torch.ones(1, 1, 6, 6)) == 0).sum())  # of 36 values
        18
        >>> drop.eval()(torch.ones(1, 1, 6, 6)).sum()
        tensor(36.)
    """

    rate: Tensor

    def __init__(self, probability: float, block_size: int = 3) -> None:
        super().__init__()
        require_positive_int(block_size=block_size)
        if block_size % 2 == 0:
            raise ValueError(f"block_size (={block_size}) must be odd, so that a block has a centre")
        # What is in a tensor may change from step to step without anything being compiled anew. Not part of the state.
        self.register_buffer("rate", torch.empty((), dtype=torch.float32), persistent=False)
        self.probability = probability
        self.block_size = block_size

    @property
    def probability(self) -> float:
        return self._probability

    @probability.setter
    def probability(self, value: float) -> None:
        require_probability(probability=value)
        self._probability = value
        self.rate.fill_(value)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, C, H, W) -> (B, C, H, W)."""
        return drop_blocks(x, self.rate, self.block_size) if self.training else x

    def extra_repr(self) -> str:
        return f"probability={self.probability}, block_size={self.block_size}"


@torch.fx.wrap  # for the same reason
def rectification(x: Tensor, kernel_size: tuple[int, ...], *geometry: Any) -> Tensor:
    """(taps of the kernel) / (taps inside the input): (B, C, H, W) -> (1, 1, H', W')."""
    kernel = x.new_ones(1, 1, *kernel_size)
    inside = F.conv2d(x.new_ones(1, 1, *x.shape[2:]), kernel, None, *geometry)
    return kernel.numel() / inside.clamp(min=1)  # where no tap is inside, the sum is zero and stays it


class RectifiedConv2d(nn.Conv2d):
    """A convolution that does not fade towards the border of its input.

    Where the kernel hangs over the border it sums fewer products than elsewhere, because padding adds zeros; the sum is
    scaled up by (taps of the kernel) / (taps inside the input): by 9/4 in the corner for a 3×3 kernel, by 9/6 along the
    edge. Known as rectified convolution in the released ResNeSt code (package ``rfconv``), which no ResNeSt with
    published weights uses, and as padding by partial convolution (Liu et al., arXiv:1811.11718).

    Arguments and parameters are those of :class:`torch.nn.Conv2d`.

    Raises:
        ValueError: ``padding_mode`` is not ``"zeros"``: other padding needs no correction.

    Example:
        >>> import torch
        >>> from resnest_edu import RectifiedConv2d
        >>> mean = RectifiedConv2d(1, 1, kernel_size=3, padding=1, bias=False)
        >>> _ = torch.nn.init.constant_(mean.weight, 1 / 9)
        >>> x = torch.ones(1, 1, 5, 5)
        >>> torch.allclose(mean(x), x)  # up to the border
        True
    """

    def __init__(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
        super().__init__(*args, **kwargs)
        if self.padding_mode != "zeros":
            raise ValueError(f"padding_mode (={self.padding_mode!r}) must be 'zeros'")

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, C_in, H, W) -> (B, C_out, H', W')."""
        out = F.conv2d(x, self.weight, None, self.stride, self.padding, self.dilation, self.groups)
        out = out * rectification(x, self.kernel_size, self.stride, self.padding, self.dilation)
        return out if self.bias is None else out + self.bias.view(-1, 1, 1)


def rectify(module: nn.Module) -> nn.Module:
    """Turn every padded convolution inside ``module`` into a :class:`RectifiedConv2d`, in place, and return it.

    Weights, names and settings stay as they are, so a state dict fits before and after; what the module computes
    changes. For a network this means the stem and the 3×3 convolution of every bottleneck.

    Args:
        module: a network, or whatever contains convolutions.

    Raises:
        ValueError: ``module`` is itself a convolution, which cannot be replaced in place, or contains none that is
            padded.

    Example:
        >>> from resnest_edu import rectify, resnest11_small
        >>> model = rectify(resnest11_small(num_classes=10))
        >>> type(model.conv1[0]).__name__
        'RectifiedConv2d'
    """
    if isinstance(module, nn.Conv2d):
        raise ValueError(f"module (={type(module).__name__}) must contain convolutions, not be one")
    found = False
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d) and child.padding not in ((0, 0), "valid"):
                found = True
                if not isinstance(child, RectifiedConv2d):
                    setattr(parent, name, _rectified(child))
    if not found:
        raise ValueError(f"module (={type(module).__name__}) must contain a padded convolution")
    return module


def _rectified(conv: nn.Conv2d) -> RectifiedConv2d:
    result = RectifiedConv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
        device="meta",  # takes no memory, and draws no random weights
    )
    result.weight, result.bias = conv.weight, conv.bias
    return result.train(conv.training)
