"""Short runs for the tests that kill processes, which import them by name."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from resnest_edu.network.resnest import ResNeSt, Variant
from resnest_edu.training import RECIPES, Checkpoints, TensorImages, train

CLASSES = ("a", "b")
RECIPE = replace(
    RECIPES["shapes"],
    image_size=8,
    epochs=4,
    batch_size=8,
    base_rate=0.5,
    warmup_epochs=0.5,
    shift=1,
    mixup=0.2,
    cutmix=0.5,
    dropout=0.2,
    dropblock=0.1,
    stochastic_depth=0.1,
    ema=0.9,
)


def images(count: int, seed: int) -> TensorImages:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return TensorImages(pixels, torch.arange(count) % 2)


def small_model(seed: int = 0, *, drops: bool = True) -> ResNeSt:
    torch.manual_seed(seed)
    variant = Variant((1, 1), (8, 16), stem_width=4)
    return ResNeSt(variant, 2, dropout=0.2 * drops, dropblock=0.1 * drops, stochastic_depth=0.1 * drops)


def values(model: nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()])


def run(
    folder: Path | None, *, minutes: float = 0.0, seed: int = 0, kind: type[Checkpoints] = Checkpoints
) -> torch.Tensor:
    """Train to the end, or go on to it, and give the final weights."""
    torch.set_num_threads(1)
    model = small_model(seed)
    checkpoints = kind(folder, RECIPE, CLASSES, seed, minutes=minutes) if folder else None
    train(model, images(44, 0), images(16, 1), RECIPE, seed=seed, progress=False, checkpoints=checkpoints)
    return values(model)


def clean_process(*arguments: object) -> multiprocessing.Process:
    """A process for :func:`run` that has PyTorch and torchvision loaded but none of this process's threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torchvision.transforms.v2"])
    return context.Process(target=run, args=arguments)  # type: ignore[return-value]
