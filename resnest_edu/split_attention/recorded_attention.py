"""Look at attention weights while a network looks at images."""

import torch
from torch import Tensor, nn

from resnest_edu.split_attention.radix_major import RadixMajorSplitAttention


@torch.no_grad()
def record_attention(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The attention of every radix-major split-attention module while ``model`` looks at ``x``, by the module's name.

    Put the model in evaluation mode first, or its batch norms use (and move with) the statistics of ``x``.

    Shape: ``x`` as ``model`` wants it -> (B, R, C) on the CPU for each module.

    Args:
        model: a network in the radix-major layout.
        x: images for it.

    Raises:
        ValueError: ``model`` contains no such module.

    Example:
        >>> import torch
        >>> from resnest_edu import resnest11_small
        >>> from resnest_edu.split_attention import record_attention
        >>> model = resnest11_small(num_classes=10).eval()
        >>> attention = record_attention(model, torch.randn(4, 3, 32, 32))
        >>> for name, weights in attention.items():
        ...     print(name, tuple(weights.shape))
        layer1.0.conv2 (4, 2, 16)
        layer2.0.conv2 (4, 2, 32)
        layer3.0.conv2 (4, 2, 64)
    """
    recorded: dict[str, Tensor] = {}

    def keep(name: str, module: RadixMajorSplitAttention, x: Tensor) -> None:
        recorded[name] = module.attention(module.split(x)).flatten(2).cpu()

    handles = [
        module.register_forward_pre_hook(lambda module, inputs, name=name: keep(name, module, inputs[0]))
        for name, module in model.named_modules()
        if isinstance(module, RadixMajorSplitAttention)
    ]
    if not handles:
        raise ValueError(f"model (={type(model).__name__}) must contain split attention in the radix-major layout")
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return recorded
