"""Conversion of a block into an equivalent form: its layers take over the tensors and settings of others.

In one form a layer stands alone, in the other it is several, each with a part of the channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def take_over(name: str, sources: Sequence[nn.Module], targets: Sequence[nn.Module], *, dim: int = 0) -> None:
    """Give the layers ``targets`` all that the layers ``sources``, of the same kind, hold together.

    Their tensors are joined along ``dim`` and cut into equal parts, bit by bit, with dtype and device; nothing is
    shared. The mode (training or evaluation), what is frozen, and ``eps`` and ``momentum`` of a batch norm are those of
    the last source.

    Raises:
        ValueError: the sources have counted different numbers of batches; ``name`` says whose they are.
    """
    states = [layer.state_dict() for layer in sources]
    for key in states[0]:
        tensors = [state[key] for state in states]
        for target, part in zip(targets, _parts(f"{name}.{key}", tensors, len(targets), dim), strict=True):
            target.load_state_dict({key: part.clone()}, strict=False, assign=True)
    for target in targets:
        _copy_settings(sources[-1], target)


def _parts(name: str, tensors: list[Tensor], count: int, dim: int) -> Sequence[Tensor]:
    if tensors[0].ndim:
        return torch.cat(tensors, dim).chunk(count, dim)
    # The number of batches goes to every part.
    if not tensors[0].is_meta and len({tensor.item() for tensor in tensors}) > 1:
        counts = ", ".join(str(tensor.item()) for tensor in tensors)
        raise ValueError(f"{name} (={counts}) must be the same in every part")
    return tensors[:1] * count


def _copy_settings(source: nn.Module, target: nn.Module) -> None:
    target.training = source.training
    for name, parameter in source.named_parameters(recurse=False):
        target.get_parameter(name).requires_grad_(parameter.requires_grad)
    for constant in ("eps", "momentum"):  # of a batch norm
        if hasattr(source, constant):
            setattr(target, constant, getattr(source, constant))
