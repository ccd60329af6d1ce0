"""What a trained network's attention does: put something else in its place, and measure how far it is from averaging.

Legend: B batch, R radix, C channels, H, W height and width.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from resnest_edu.arguments import require_one_of
from resnest_edu.split_attention import RadixMajorSplitAttention, record_attention

REPLACEMENTS = "uniform", "average", "shuffled", "swapped"


@contextmanager
def replaced_attention(
    model: nn.Module,
    how: str,
    *,
    images: Tensor | None = None,
    generator: torch.Generator | None = None,
    layers: Collection[str] | None = None,
) -> Iterator[None]:
    """While it lasts, the radix-major split attention in ``model`` weighs its splits by something other than its
    attention; afterwards all is as before.

    What is put in its place is

    - ``"uniform"``: 1/R for every split, plain averaging. No gradient reaches the
      layers that make the attention, so what is trained so never had it.
    - ``"average"``: each layer's mean over ``images``. Every channel keeps its usual
      mixture of splits, and no longer looks at the image.
    - ``"shuffled"``: in every batch each image gets the attention of another one.
    - ``"swapped"``: the splits in reversed order, so that what was preferred is not.

    It takes the place of the method ``attention``, which the accelerated network calls as well
    (:func:`resnest_edu.speed.accelerate`).

    Args:
        model: a network, or whatever contains radix-major split attention.
        how: one of the four.
        images: for ``"average"``, what ``model`` takes; put it in evaluation mode first.
        generator: for ``"shuffled"``; PyTorch's own if None.
        layers: names of the split-attention modules to replace; all if None.

    Raises:
        ValueError: ``how`` is none of the four; ``model`` contains no radix-major split attention, or none of a name in
            ``layers``; ``"average"`` without images or in training mode; ``"shuffled"`` meets a batch of one image.
    """
    require_one_of("how", how, REPLACEMENTS)
    modules = _modules(model, layers)
    means: dict[str, Tensor] = {}
    if how == "average":
        if images is None:
            raise ValueError("images (=None) must be given to average over")
        if model.training:
            raise ValueError("model (=in training) must be in evaluation mode")
        recorded = record_attention(model, images)
        means = {name: a.mean(dim=0)[..., None, None] for name, a in recorded.items()}

    def replace(attention: Tensor, name: str) -> Tensor:
        if how == "uniform":
            return torch.full_like(attention, 1 / attention.shape[1])
        if how == "average":
            return means[name].to(attention).expand_as(attention)
        if how == "swapped":
            return attention.flip(1)
        return attention[others(len(attention), generator).to(attention.device)]

    def replacing(name: str) -> Callable[[Tensor], Tensor]:
        original = modules[name].attention
        return lambda splits: replace(original(splits), name)

    before = {name: vars(m).get("attention") for name, m in modules.items()}
    try:
        for name, module in modules.items():
            vars(module)["attention"] = replacing(name)
        yield
    finally:
        for name, replacement in before.items():
            if replacement is None:
                del vars(modules[name])["attention"]
            else:  # one around this one
                vars(modules[name])["attention"] = replacement


def _modules(model: nn.Module, layers: Collection[str] | None) -> dict[str, RadixMajorSplitAttention]:
    modules = {name: module for name, module in model.named_modules() if isinstance(module, RadixMajorSplitAttention)}
    if not modules:
        raise ValueError(f"model (={type(model).__name__}) must contain split attention in the radix-major layout")
    if layers is None:
        return modules
    if unknown := set(layers) - set(modules):
        raise ValueError(f"layers (={sorted(unknown)}) must be of {', '.join(modules)}")
    return {name: modules[name] for name in layers}


def others(count: int, generator: torch.Generator | None = None) -> Tensor:
    """For each of ``count`` images another one, and each of them once: a random cycle through all of them.

    Shape: int64 (count,).

    Args:
        count: how many images there are.
        generator: of the CPU; PyTorch's own if None.

    Raises:
        ValueError: there are fewer than two.
    """
    if count < 2:
        raise ValueError(f"images (={count}) must be at least 2 to change places")
    cycle = torch.randperm(count, generator=generator)
    another = torch.empty_like(cycle)
    another[cycle] = cycle.roll(1)
    return another


def distance_from_uniform(attention: Tensor) -> Tensor:
    """How far the weights of R splits are from 1/R each: the total variation distance as a share of the greatest
    possible.

    A number without a unit: 0 where a channel averages its splits, 1 where it takes one of them alone. With R = 2 it is
    the difference of the two weights.

    Shape: (..., R, C), as :func:`resnest_edu.split_attention.record_attention` gives it -> (..., C).

    Raises:
        ValueError: R is below 2, where there is nothing to choose.
    """
    radix = attention.shape[-2]
    if radix < 2:
        raise ValueError(f"radix (={radix}) must be at least 2 for splits to differ")
    variation = (attention - 1 / radix).abs().sum(dim=-2) / 2
    return variation / (1 - 1 / radix)


@torch.no_grad()
def settle(model: nn.Module, images: Tensor, *, batch_size: int = 64) -> nn.Module:
    """Set the running statistics of batch norm to the mean over the images' batches, without learning, and return the
    model in evaluation mode: the control for a trained network. (Merely to run the batches in training mode would leave
    part of the initial values in the statistics.)

    Shape: images as ``model`` takes them, (B, 3, H, W).

    Args:
        model: the network, which is changed in place.
        images: all to measure, on the model's device.
        batch_size: how many of them make a batch.
    """
    update_bn(images.split(batch_size), model)
    return model.eval()
