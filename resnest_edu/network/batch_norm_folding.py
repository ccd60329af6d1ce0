"""Batch norm, folded into the convolution before it: once a network only predicts, it is a part of the weights."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from resnest_edu.arguments import first_line


def fold_batch_norms(model: nn.Module, images: Tensor | None = None) -> nn.Module:
    """A copy of ``model`` in evaluation mode with every batch norm folded into the convolution before it; an identity
    stands in its place.

    In evaluation mode batch norm is an affine map of each channel by itself (arXiv:1502.03167, section 3.1), and a
    convolution is linear: its weights can take the scale, and its bias the shift. "Before" is told by the order in
    which the layers were made. Whether they run in that order is tried out, on a copy with random norms.

    Args:
        model: a network, or a part of one; it is left as it is.
        images: a batch that it takes, for the trial; if None, one of 64 × 64 positions, with the channels of the first
            convolution.

    Raises:
        ValueError: the model does not take ``images``; a batch norm was not made straight after a plain convolution of
            as many channels, does not run straight after it, or has no running statistics.

    Example:
        >>> from torch import nn
        >>> from resnest_edu import resnest11_small
        >>> from resnest_edu.network.batch_norm_folding import fold_batch_norms
        >>> folded = fold_batch_norms(resnest11_small(8))
        >>> any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
        False
    """
    folded = _folded(model)
    _try_out(model, images)
    return folded


def _folded(model: nn.Module) -> nn.Module:
    folded = copy.deepcopy(model).eval()
    modules = [("nothing", nn.Identity()), *folded.named_modules()]
    layers = [(n, m) for n, m in modules if not list(m.children())]
    for (before, conv), (name, norm) in pairwise(layers):
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        if type(conv) is not nn.Conv2d or conv.out_channels != norm.num_features:
            wanted = f"a plain convolution of {norm.num_features} channels"
            order = f"straight after {wanted}, not {before} (={conv})"
            raise ValueError(f"{name} must come {order}")
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError(f"{name} (={norm}) must have running statistics")
        folded.set_submodule(before, fuse_conv_bn_eval(conv, norm))
        folded.set_submodule(name, nn.Identity())
    return folded


@torch.no_grad()
def _try_out(model: nn.Module, images: Tensor | None) -> None:
    """Raise ValueError if folding changes what the model computes."""
    model = copy.deepcopy(model).cpu().double().eval()
    generator = torch.Generator().manual_seed(0)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for tensor in (one for norm in norms for one in (norm.weight, norm.bias, norm.running_mean, norm.running_var)):
        if tensor is not None:
            # As they are, they might hide a mistake: a weight of zero switches off a whole branch.
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    if images is None:
        first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
        if first is None:
            return
        images = torch.randn(1, first.in_channels, 64, 64, generator=generator)
    images = images.cpu().double()
    kind = type(model).__name__
    try:
        expected = model(images)
    except Exception as error:
        raise ValueError(
            f"images (={tuple(images.shape)}) must be a batch that model (={kind}) takes: {first_line(error)}"
        ) from error
    try:
        torch.testing.assert_close(_folded(model)(images), expected, rtol=1e-6, atol=1e-6)
    except AssertionError:
        raise ValueError(
            f"model (={kind}) must run every batch norm straight after the convolution that was made before it"
        ) from None
