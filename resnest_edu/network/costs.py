"""What a network costs: its multiply-adds (FLOPs halved) and its parameters."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@torch.no_grad()
def multiply_adds(model: nn.Module, image_size: int) -> int:
    """Multiply-adds of all convolutions and dense layers of ``model`` for one image of ``image_size`` × ``image_size``
    pixels. Nothing is computed, and the model stays as it is.

    Example:
        >>> import torch
        >>> from resnest_edu.network.costs import multiply_adds
        >>> conv = torch.nn.Conv2d(3, 8, kernel_size=3, padding=1)
        >>> multiply_adds(conv, image_size=32) == 32 * 32 * 8 * 3 * 3 * 3
        True
    """
    model = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, image_size, image_size, device="meta"))
    return counter.get_total_flops() // 2  # a multiply-add is two operations


def parameter_count(model: nn.Module) -> int:
    """How many numbers ``model`` learns.

    Args:
        model: any module.
    """
    return sum(parameter.numel() for parameter in model.parameters())
