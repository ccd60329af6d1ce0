"""What does the attention of a trained network respond to, what is it worth, and how far does the network reach?

From every seed the recipe ``shapes`` trains two networks that start from the same weights: one with its attention, and
one that averages its splits from the start. A third is fresh: its batch norms have settled, and that is all. Of all
three it is asked how far the attention is from averaging, whether it tells the class, and whether it follows the size
of the object; the averaging network's is computed and not used. From the first, the attention is then taken away in
several ways, in all blocks and in one; and as it is, it is shown objects of other sizes and scenes without colour.

On one core a seed takes about a minute and a half.
"""

from typing import Any

import torch
from torch import Tensor, nn

from resnest_edu.book.experiments._beyond import beyond_training
from resnest_edu.book.experiments._preferences import (
    blocks_of,
    contexts,
    preference,
    preferences,
    read_off,
    share_between_classes,
)
from resnest_edu.book.experiments._shapes import KINDS, build, images_of, trained
from resnest_edu.book.interventions import others, replaced_attention, settle
from resnest_edu.data import SHAPE_CLASSES, TEST_START, SceneConfig, draw_scenes
from resnest_edu.split_attention import record_attention
from resnest_edu.training import TensorImages, evaluate
from resnest_edu.training.augmentation import normalize

NEEDS_CUDA = False
SEEDS = range(10)
SEEN = 1000
"""As many of the training images are averaged over, or let the batch norms settle."""
FACTORS = 1.0, 1.25, 1.5
"""How much objects of 0.55 to 0.6 of the side are enlarged: no size is one that the networks have not met."""
SIZED = 400


def run_seed(seed: int) -> dict[str, Any]:
    """Accuracies on the test images, as fractions; of each kind of network what its preferences tell, by stage."""
    data = images_of(seed)
    train_data, test_data = data
    seen = normalize(train_data.images[:SEEN])
    networks = {kind: trained(kind, seed, data, torch.device("cpu")) for kind in KINDS}
    networks["fresh"] = settle(build(seed), seen)

    inputs, labels = normalize(test_data.images), test_data.labels
    read = {kind: contexts(model, inputs, averaging=kind == "averaging") for kind, model in networks.items()}
    preferred = {kind: preferences(model, read[kind]) for kind, model in networks.items()}
    told = {
        kind: what_they_tell(d, labels) | {"context read off": [_round(read_off(c, labels)) for c in read[kind]]}
        for kind, d in preferred.items()
    }
    untrained = untrained_preferences(seed, contexts(networks["attention"], seen), read["attention"])
    told["attention, its layers untrained"] = what_they_tell(untrained, labels)

    with replaced_attention(networks["averaging"], "uniform"):
        never = _round(evaluate(networks["averaging"], test_data)[1])
    return {
        "accuracy": accuracies(networks["attention"], data, preferred["attention"], seed) | {"never": never},
        "one stage alone": {
            way: [
                accuracy_with(networks["attention"], way, test_data, seen, [name])
                for name in blocks_of(networks["attention"])
            ]
            for way in ("average", "swapped")
        },
        "preferences": told,
        "sizes": {kind: movement(model, averaging=kind == "averaging") for kind, model in networks.items()},
        "beyond training": beyond_training(networks["attention"], test_data),
    }


def what_they_tell(preferred: list[Tensor], labels: Tensor) -> dict[str, Any]:
    """Of every stage's preferences: their distance from none, how they move, and what they tell of the class."""
    return {
        "distance": [_round(d.abs().mean()) for d in preferred],
        "from image to image": [_round(d.std(dim=0).mean()) for d in preferred],
        "between classes": [_round(share_between_classes(d, labels)) for d in preferred],
        "read off": [_round(read_off(d, labels)) for d in preferred],
        "read off all stages": _round(read_off(torch.cat(preferred, dim=1), labels)),
    }


def untrained_preferences(seed: int, settling: list[Tensor], read: list[Tensor]) -> list[Tensor]:
    """What fresh attention layers make of contexts that come of learnt features, their batch norms settled."""
    found = []
    for block, settle_on, context in zip(blocks_of(build(seed)).values(), settling, read, strict=True):
        block.bn1.momentum = None  # the plain mean
        preference(block.train(), settle_on)
        found.append(preference(block.eval(), context))
    return found


def accuracies(
    model: nn.Module, data: tuple[TensorImages, TensorImages], preferred: list[Tensor], seed: int
) -> dict[str, float]:
    """The accuracy with the attention as it is, and with it taken away in several ways."""
    train_data, test_data = data
    labels, seen = test_data.labels, normalize(train_data.images[:SEEN])
    own = {
        name: torch.stack([(1 + d) / 2, (1 - d) / 2], dim=1)
        for name, d in zip(blocks_of(model), preferred, strict=True)
    }
    usual = {
        name: torch.stack([a[train_data.labels[:SEEN] == c].mean(0) for c in range(len(SHAPE_CLASSES))])
        for name, a in record_attention(model, seen).items()
    }
    generator = torch.Generator().manual_seed(seed)
    anyone = others(len(labels), generator)
    alike = torch.empty_like(anyone)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        alike[members] = members[others(len(members), generator)]
    return {
        "attention": _round(evaluate(model, test_data)[1]),
        "mean of its class": accuracy_given({name: a[labels] for name, a in usual.items()}, model, test_data),
        "average": accuracy_with(model, "average", test_data, seen),
        "uniform": accuracy_with(model, "uniform", test_data, seen),
        "shuffled within a class": accuracy_given({name: a[alike] for name, a in own.items()}, model, test_data),
        "shuffled": accuracy_given({name: a[anyone] for name, a in own.items()}, model, test_data),
        "swapped": accuracy_with(model, "swapped", test_data, seen),
    }


def accuracy_with(
    model: nn.Module, way: str, data: TensorImages, seen: Tensor, layers: list[str] | None = None
) -> float:
    """The accuracy where the attention of all blocks, or of some, is replaced."""
    with replaced_attention(model, way, images=seen, layers=layers):
        return _round(evaluate(model, data)[1])


@torch.no_grad()
def accuracy_given(given: dict[str, Tensor], model: nn.Module, data: TensorImages) -> float:
    """The accuracy where the blocks' weights are these, (N, R, C) each, whatever the network sees."""
    blocks = blocks_of(model)
    for name, attention in given.items():
        vars(blocks[name])["attention"] = lambda splits, a=attention: a[..., None, None]
    right = model(normalize(data.images)).argmax(1) == data.labels
    for name in given:
        del vars(blocks[name])["attention"]
    return _round(right.float().mean())


def sized_scenes(factor: float) -> Tensor:
    """The very same scenes, their object (and the piece that lies across it) so many times as large."""
    config = SceneConfig(scale=(0.55, 0.6), enlarge=factor)
    return normalize(torch.from_numpy(draw_scenes(TEST_START, SIZED, config=config).images))


def movement(model: nn.Module, *, averaging: bool) -> dict[str, list[float]]:
    """How far the mean preference of a channel moves, in either direction, when the object is enlarged: the mean over
    a stage's channels, by stage. ``noise`` is by how much that may be off, from two halves of the scenes; ``signed``
    is what is left of the moves when they are averaged with their signs, and ``tossed`` what would be left of as large
    ones whose signs are tosses of a coin."""
    read = [contexts(model, sized_scenes(factor), averaging=averaging) for factor in FACTORS]
    by_size = [preferences(model, one) for one in read]
    found: dict[str, list[float]] = {"moved": [], "moved half": [], "noise": [], "signed": [], "tossed": []}
    for stage in range(len(by_size[0])):
        d = torch.stack([one[stage] for one in by_size])  # sizes, images, channels
        halves = d.unflatten(1, (2, SIZED // 2)).mean(2)
        first, second = (halves - halves[:1])[-1]
        half_way, moves = (halves - halves[:1]).mean(1)[1:]
        found["moved half"].append(_round(half_way.abs().mean()))
        found["moved"].append(_round(moves.abs().mean()))
        found["noise"].append(_round((first - second).abs().mean() / 2))
        found["signed"].append(_round(moves.mean().abs()))
        found["tossed"].append(_round((2 / torch.pi / len(moves)) ** 0.5 * moves.square().mean().sqrt()))
    return found


def _round(value: float | Tensor) -> float:
    return round(float(value), 5)
