"""Why does a cascade of heads move boxes better than one head? Counted on boxes, without a network.

Each object of 200 drawn scenes has twenty proposals: its own box, changed by a random t. An ideal head halves the error
of every box: that shows how many positives a threshold leaves, first and later. A fitted one sees the error through
noise and corrects a share λ of what it sees, the best share for the positives of its threshold; it is tested on fresh
proposals, alone and in a row.
"""

from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torchvision.models.detection._utils import BoxCoder

from resnest_edu.data import SceneConfig, draw_scenes
from resnest_edu.transfer.cascade import THRESHOLDS

NEEDS_CUDA = False
SEEDS = range(20)
CONFIG = SceneConfig(size=128, objects=(2, 6), scale=(0.15, 0.5))
SCENES = 200
NOISE = 0.1
SCHEMES: dict[str, tuple[float | None, ...]] = {
    "no head": (),
    "one head, 0.7": (0.7,),
    "one head, 0.5": (0.5,),
    "the same three times": (0.5, None, None),
    "cascade, 0.5 0.5 0.5": (0.5, 0.5, 0.5),
    "cascade, 0.5 0.6 0.7": (0.5, 0.6, 0.7),
}
"""The threshold of each head in a row; None is the head before, once more."""
coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))


def run_seed(seed: int) -> dict[str, Any]:
    """``starvation``: after so many ideal heads, for each threshold the share of positives and their mean IoU;
    ``mismatch``: for each threshold λ and how the IoU of poor and of good boxes changes; ``schemes``: the shares of
    boxes at IoU 0.5 and 0.75."""
    objects = visible_boxes(seed)
    return {
        "starvation": starvation(objects, seed),
        "mismatch": {str(u): mismatch(objects, u, seed) for u in (0.5, 0.7)},
        "schemes": {
            name: [_share(overlap(*after(objects, scheme, seed)) >= u) for u in (0.5, 0.75)]
            for name, scheme in SCHEMES.items()
        },
    }


def visible_boxes(seed: int) -> Tensor:
    """Boxes of what is to be seen of the objects, slivers left out. Shape: (n, 4)."""
    scenes = draw_scenes(0, SCENES, seed=seed, config=CONFIG)
    boxes = scenes.boxes[scenes.classes >= 0]
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    return torch.from_numpy(boxes[sides >= 6].astype(np.float64))


def proposals(
    objects: Tensor, generator: Generator, least: float = 0.2, most: float = 0.6, each: int = 20
) -> tuple[Tensor, Tensor]:
    """Objects, each several times, and as many boxes beside them."""
    truth = objects.repeat_interleave(each, dim=0)
    size = torch.rand(len(truth), 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(truth), 4, generator=generator, dtype=torch.float64)
    return truth, coder.decode_single((least + (most - least) * size) * noise, truth)


def overlap(boxes: Tensor, truth: Tensor) -> Tensor:
    """IoU of each box with its own object, (n,)."""
    corner = torch.maximum(boxes[:, :2], truth[:, :2])
    other = torch.minimum(boxes[:, 2:], truth[:, 2:])
    shared = (other - corner).clamp(min=0).prod(dim=1)
    areas = [(b[:, 2:] - b[:, :2]).prod(dim=1) for b in (boxes, truth)]
    return shared / (areas[0] + areas[1] - shared)


def halve(truth: Tensor, boxes: Tensor) -> Tensor:
    """The ideal head."""
    return coder.decode_single(coder.encode_single(truth, boxes) / 2, boxes)


def see(t: Tensor, generator: Generator) -> Tensor:
    """The error through noise."""
    return t + NOISE * torch.randn(t.shape, generator=generator, dtype=torch.float64)


def fit(truth: Tensor, boxes: Tensor, u: float, generator: Generator) -> float:
    """The λ of a head for these boxes and this threshold."""
    positive = overlap(boxes, truth) >= u
    t = coder.encode_single(truth, boxes)[positive]
    seen = see(t, generator)
    return ((t * seen).sum() / (seen * seen).sum()).item()


def apply(head: float, truth: Tensor, boxes: Tensor, generator: Generator) -> Tensor:
    """The boxes after a head that corrects a share of what it sees."""
    return coder.decode_single(head * see(coder.encode_single(truth, boxes), generator), boxes)


def after(objects: Tensor, scheme: tuple[float | None, ...], seed: int) -> tuple[Tensor, Tensor]:
    """Fresh proposals after all heads of a scheme, and their objects."""
    generator = torch.Generator().manual_seed(seed)
    truth, boxes = proposals(objects, generator)
    fresh, tested = proposals(objects, generator)
    head = 0.0
    for u in scheme:
        head = head if u is None else fit(truth, boxes, u, generator)
        boxes = apply(head, truth, boxes, generator)
        tested = apply(head, fresh, tested, generator)
    return tested, fresh


def starvation(objects: Tensor, seed: int) -> list[dict[str, list[float]]]:
    truth, boxes = proposals(objects, torch.Generator().manual_seed(seed))
    found = []
    for _ in range(3):
        reached = overlap(boxes, truth)
        found.append({str(u): [_share(reached >= u), _mean(reached[reached >= u])] for u in THRESHOLDS})
        boxes = halve(truth, boxes)
    return found


def mismatch(objects: Tensor, u: float, seed: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    head = fit(*proposals(objects, generator), u, generator)
    fresh, tested = proposals(objects, generator, least=0.0)
    before = overlap(tested, fresh)
    gained = overlap(apply(head, fresh, tested, generator), fresh) - before
    return {"head": round(head, 4), "poor": _mean(gained[before < 0.5]), "good": _mean(gained[before > 0.9])}


def _mean(values: Tensor) -> float:
    return round(values.mean().item(), 4)


def _share(condition: Tensor) -> float:
    """In per cent."""
    return round(100 * condition.double().mean().item(), 2)
