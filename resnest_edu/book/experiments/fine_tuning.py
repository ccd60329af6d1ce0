"""Does it help, where there are few images of one's own, to begin with a network that knows other classes?

A small network learns five classes of CIFAR-10 from all their images. Of each of the five others there are 300 images.
It is fine-tuned on these with the numbers of the recipe ``finetune`` at 32 pixels, at the recipe's low rate and at a
higher one; fresh weights are trained at the higher one, for as long and for longer. A seed decides the 300 images, the
fresh weights, the order and the augmentation.

The higher rate was chosen beforehand, by another seed on other images of the training set: of ``base_rate`` 0.05, 0.2
and 0.8 the last was the best for both, and 2 no better from scratch. What counts is the accuracy on all test images of
the five classes, after the last epoch.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnest_edu import ResNeSt
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
HIGHER = replace(SMALL, base_rate=0.8)
LONGER = replace(HIGHER, epochs=3 * HIGHER.epochs)
FIRST = replace(HIGHER, epochs=2, batch_size=128, warmup_epochs=0.5)
PIECES = tuple(f"seed {seed}" for seed in range(5))


def run_pieces(names: Iterable[str], device: torch.device, data: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The accuracies of every seed, by the way of training; seeds run on the CPU, one on each core."""
    return side_by_side(partial(run_piece, data=data), names, processes=os.cpu_count() or 1)


def run_piece(name: str, *, data: Path) -> dict[str, Any]:
    """The accuracy of the first network on the classes that it knows, and by way of training on those of one's own, in
    per cent."""
    seed = int(name.split()[1])
    (first, first_test), (own, test) = in_two(data)
    few = few_of(own, seed)
    known = trained(fresh(seed), first, FIRST, seed)
    ways = {
        "fine-tuned, low rate": trained(load_trunk(known, fresh(seed)), few, SMALL, seed),
        "fine-tuned": trained(load_trunk(known, fresh(seed)), few, HIGHER, seed),
        "from scratch": trained(fresh(seed), few, HIGHER, seed),
        "from scratch, longer": trained(fresh(seed), few, LONGER, seed),
    }
    return {"first": accuracy(known, first_test), "ways": {way: accuracy(one, test) for way, one in ways.items()}}


@cache
def in_two(data: Path) -> list[list[TensorImages]]:
    """Training and test images of the classes that are learnt first, and those of one's own."""
    splits = _cifar10.open_folder(data)
    partitions = [decode(split, workers=1, progress=False) for split in (splits.train, splits.test)]
    return [[chosen(*partition, known) for partition in partitions] for known in (True, False)]


def chosen(images: Tensor, labels: Tensor, known: bool) -> TensorImages:
    which = (labels < KNOWN) == known
    return TensorImages(images[which], labels[which] % KNOWN)


def few_of(data: TensorImages, seed: int) -> TensorImages:
    """So many of each class, by chance."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    few = torch.cat([order[data.labels[order] == label][:IMAGES] for label in range(KNOWN)])
    return TensorImages(data.images[few], data.labels[few])


def fresh(seed: int) -> ResNeSt:
    torch.manual_seed(seed)
    return SMALL.build(KNOWN)


def trained(model: ResNeSt, data: TensorImages, recipe: Recipe, seed: int) -> ResNeSt:
    """The network after the recipe. It is tested later: what :func:`train` measures every epoch is not needed."""
    unused = TensorImages(data.images[:1], data.labels[:1])
    train(model, data, unused, recipe, seed=seed, device=torch.device("cpu"), accelerate=True, progress=False)
    return model


def accuracy(model: ResNeSt, test: TensorImages) -> float:
    return round(100 * evaluate(model, test)[1], 2)


def summarize(pieces: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation of each way over the seeds, and the recipes."""
    ways = {way: [piece["ways"][way] for piece in pieces.values()] for way in pieces[PIECES[0]]["ways"]}
    recipes = {"first": FIRST, "fine-tuned, low rate": SMALL, "fine-tuned": HIGHER, "from scratch, longer": LONGER}
    return {
        "ways": {way: mean_and_deviation(accuracies) for way, accuracies in ways.items()},
        "recipes": {name: asdict(recipe) for name, recipe in recipes.items()},
    }
