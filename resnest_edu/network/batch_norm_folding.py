"""Batch norm, folded into the convolution before it: once a network only predicts, it is a part of the weights."""

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(model: nn.Module) -> nn.Module:
    """A copy of ``model`` in evaluation mode with every batch norm folded into the
    convolution before it; an identity stands in its place.

    In evaluation mode batch norm is an affine map of each channel by itself
    (arXiv:1502.03167, section 3.1), and a convolution is linear: its weights can take
    the scale, and its bias the shift. "Before" is told by the order in which the
    layers were made, which in this package's networks is the order in which they run.

    Args:
        model: a network, or a part of one; it is left as it is.

    Raises:
        ValueError: a batch norm does not come straight after a plain convolution of
            as many channels, or has no running statistics.

    Example:
        >>> from torch import nn
        >>> from resnest_edu import resnest11_small
        >>> from resnest_edu.network.batch_norm_folding import fold_batch_norms
        >>> folded = fold_batch_norms(resnest11_small(8))
        >>> any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
        False
    """
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
