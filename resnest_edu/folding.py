"""Batch norm, folded into the convolution before it: once a network only predicts, it is a part of the weights.

Legend: B batch, C channels, H height, W width.
"""

import copy

import torch
from torch import nn


@torch.no_grad()
def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that computes what ``conv`` and then ``norm`` compute in
    evaluation mode.

    There batch norm is an affine map of each channel by itself (arXiv:1502.03167,
    section 3.1), and a convolution is linear, so its weights can take the scale, and
    its bias the shift.

    Shape: (B, C_in, H, W) -> (B, C, H', W'), as ``conv`` has it.

    Args:
        conv: with or without a bias; it is left as it is.
        norm: of as many channels as ``conv`` emits, with running statistics and a
            scale and shift of its own.

    Raises:
        ValueError: ``conv`` is no plain convolution, or ``norm`` not as above.

    Example:
        >>> conv, norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4).eval()
        >>> x = torch.randn(2, 3, 5, 5)
        >>> torch.allclose(fold(conv, norm)(x), norm(conv(x)), atol=1e-5)
        True
    """
    if type(conv) is not nn.Conv2d:
        raise ValueError(f"conv (={type(conv).__name__}) must be a plain Conv2d")
    if norm.num_features != conv.out_channels:
        channels = f"norm's channels (={norm.num_features})"
        raise ValueError(f"{channels} must be those of conv (={conv.out_channels})")
    if norm.running_mean is None or norm.running_var is None or not norm.affine:
        raise ValueError(f"norm (={norm}) must have running statistics, scale and shift")
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    bias = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
    folded = copy.deepcopy(conv)
    folded.weight.copy_(scale[:, None, None, None] * conv.weight)
    folded.bias = nn.Parameter(scale * bias + norm.bias)
    return folded


def fold_batch_norms(model: nn.Module) -> nn.Module:
    """A copy of ``model`` in evaluation mode with every batch norm folded into the
    convolution before it; an identity stands in its place.

    "Before" is told by the order in which the layers were made, which in this
    package's networks is the order in which they run.

    Raises:
        ValueError: a batch norm does not come straight after a convolution, or does
            not fit it.

    Example:
        >>> from resnest_edu import resnest11_small
        >>> folded = fold_batch_norms(resnest11_small(8))
        >>> any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
        False
    """
    folded = copy.deepcopy(model).eval()
    layers = [(n, m) for n, m in folded.named_modules() if not list(m.children())]
    for (before, conv), (name, norm) in zip(layers, layers[1:], strict=False):
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        if not isinstance(conv, nn.Conv2d):
            follows = f"it follows {before} (={type(conv).__name__})"
            raise ValueError(f"{name} must come straight after a convolution; {follows}")
        folded.set_submodule(before, fold(conv, norm))
        folded.set_submodule(name, nn.Identity())
    if isinstance(layers[0][1], nn.BatchNorm2d):
        raise ValueError(f"{layers[0][0]} must come straight after a convolution; it is first")
    return folded
