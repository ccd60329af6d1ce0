"""Random weights for tests."""

import torch
from torch import nn


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Fill weights and running statistics in place: nothing constant anywhere, since constant attention, say, would
    hide a wrong layout."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            tensor.fill_(7)  # batches seen
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        else:
            tensor.normal_(0, 0.5, generator=generator)
    return module


def randomize_norms(module: nn.Module, seed: int = 0) -> nn.Module:
    """Make a fresh network behave like a trained one, in place: every block says something, no batch norm is idle."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5, generator=generator)
            part.bias.data.normal_(0, 0.1, generator=generator)
            part.running_mean.normal_(0, 0.1, generator=generator)
            part.running_var.uniform_(0.5, 1.5, generator=generator)
    return module
