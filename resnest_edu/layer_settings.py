"""What a layer knows besides the values of its tensors: its mode, what is frozen, the constants of batch norm.

Whoever rebuilds a block in another form must carry these along.
"""

from torch import nn


def copy_settings(source: nn.Module, target: nn.Module) -> None:
    """Give the layer ``target`` the settings of ``source``, a layer of the same kind.

    Copied are the mode (training or evaluation), ``requires_grad`` of each parameter, and ``eps`` and ``momentum`` of a
    batch norm. The tensors may differ in shape.
    """
    target.training = source.training
    for name, parameter in source.named_parameters(recurse=False):
        target.get_parameter(name).requires_grad_(parameter.requires_grad)
    for constant in ("eps", "momentum"):  # of a batch norm
        if hasattr(source, constant):
            setattr(target, constant, getattr(source, constant))
