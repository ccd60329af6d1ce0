"""Forward and backward at once, for tests that compare two writings of one function."""

import copy

import torch
from torch import Tensor, nn


def differentiate(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, nn.Module]:
    """The output, the input's gradient, and a copy of the module with its gradients in the place of its weights.

    What is differentiated weighs every value of the output differently, so none can hide.
    """
    x = x.clone().requires_grad_()
    module.zero_grad()
    output = module(x)
    weight = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    (output * weight).sum().backward()
    gradients = copy.deepcopy(module)
    with torch.no_grad():
        for place, parameter in zip(gradients.parameters(), module.parameters(), strict=True):
            place.copy_(parameter.grad)
    return output.detach(), x.grad, gradients
