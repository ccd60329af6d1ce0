"""Does it help, where there are few images of one's own, to begin with a network that knows other classes?

A small network learns five classes of CIFAR-10 from all their images. Of each of the five others there are 300 images.
It is fine-tuned on these with the numbers of the recipe ``finetune`` at 32 pixels, and compared with fresh weights that
are trained with the same numbers; at a rate that suits them better; and so for longer, by as many images as both
trainings of the other had together. A seed decides the 300 images, the fresh weights, order and augmentation.

Both rates were chosen beforehand, by another seed on other images of the training set. What counts is the accuracy on
all test images of the five classes, after the last epoch.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnest_edu.book.experiments import _cifar10
from resnest_edu.book.experiments.new_head import load_trunk
from resnest_edu.book.records import summarize as mean_and_deviation
from resnest_edu.book.side_by_side import side_by_side
from resnest_edu.data import decode
from resnest_edu.training import Recipe, TensorImages, evaluate, get_recipe, train

NEEDS_CUDA, NEEDS_DATA = False, True
KNOWN = 5
"""The classes below this number are learnt first; the others are one's own."""
IMAGES = 300  # of each class of one's own
SMALL = replace(get_recipe("finetune"), model="resnest11_small", image_size=32, crop=0.0, shift=4)
FIRST = replace(SMALL, epochs=1, batch_size=128, base_rate=1.0, warmup_epochs=0.25, weight_decay=5e-4)
FINE_TUNED = replace(SMALL, base_rate=0.2)
FROM_SCRATCH = replace(SMALL, base_rate=0.8)
PIECES = tuple(f"seed {seed}" for seed in range(5))


def run_pieces(names: Iterable[str], device: torch.device, data: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The accuracies of every seed, by the way of training; seeds run on the CPU, one on each core."""
    return side_by_side(partial(run_piece, data=data), names, processes=os.cpu_count() or 1)


def run_piece(name: str, *, data: Path) -> dict[str, Any]:
    """The accuracy of the first network on the classes that it knows, and by way of training on those of one's own, in
    per cent; of the longer training the epochs too."""
    seed = int(name.split()[1])
    (first, first_test), (every, test) = in_two(data)
    own = few_of(every, seed)
    epochs = FROM_SCRATCH.epochs + round(FIRST.epochs * len(first) / len(own))
    known = trained(fresh(seed), first, FIRST, seed)
    ways = {
        "fine-tuned": trained(load_trunk(known, fresh(seed)), own, FINE_TUNED, seed),
        "from scratch, same numbers": trained(fresh(seed), own, FINE_TUNED, seed),
        "from scratch, higher rate": trained(fresh(seed), own, FROM_SCRATCH, seed),
        "from scratch, longer": trained(fresh(seed), own, replace(FROM_SCRATCH, epochs=epochs), seed),
    }
    accuracies = {way: accuracy(model, test) for way, model in ways.items()}
    return {"first": accuracy(known, first_test), "longer": epochs, "ways": accuracies}


@cache
def in_two(data: Path) -> list[tuple[TensorImages, TensorImages]]:
    """Training and test images of the classes that are learnt first, and those of one's own."""
    splits = _cifar10.open_folder(data)
    partitions = [decode(split, workers=1, progress=False) for split in (splits.train, splits.test)]

    def those(chosen: Tensor, images: Tensor, labels: Tensor) -> TensorImages:
        return TensorImages(images[chosen], labels[chosen] % KNOWN)

    known = [those(labels < KNOWN, images, labels) for images, labels in partitions]
    own = [those(labels >= KNOWN, images, labels) for images, labels in partitions]
    return [(known[0], known[1]), (own[0], own[1])]


def few_of(data: TensorImages, seed: int) -> TensorImages:
    """So many of each class, by chance."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    chosen = torch.cat([order[data.labels[order] == label][:IMAGES] for label in range(KNOWN)])
    return TensorImages(data.images[chosen], data.labels[chosen])


def fresh(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return SMALL.build(KNOWN)


def trained(model: nn.Module, data: TensorImages, recipe: Recipe, seed: int) -> nn.Module:
    """The network after the recipe. It is tested later: what :func:`train` measures every epoch is not needed."""
    unused = TensorImages(data.images[:1], data.labels[:1])
    train(model, data, unused, recipe, seed=seed, device=torch.device("cpu"), accelerate=True, progress=False)
    return model


def accuracy(model: nn.Module, test: TensorImages) -> float:
    return round(100 * evaluate(model, test)[1], 2)


def summarize(pieces: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation of each way over the seeds, and the recipes."""
    ways = pieces[PIECES[0]]["ways"]
    return {
        "ways": {way: mean_and_deviation([piece["ways"][way] for piece in pieces.values()]) for way in ways},
        "first": asdict(FIRST),
        "fine-tuned": asdict(FINE_TUNED),
        "from scratch": asdict(FROM_SCRATCH),
    }
