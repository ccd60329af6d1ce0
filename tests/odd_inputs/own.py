"""Odd data sets of one's own, for each of the three tasks."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from resnest_edu.training import Classification, train
from resnest_edu.transfer import Detection, DetectionScenes, Segmentation, SegmentationScenes
from tests.odd_inputs.odd import Odd, Oddity, Trial, choose, trial
from tests.training.small_runs import RECIPE, images, small_model
from tests.transfer.tiny_recipes import DETECTION, SEGMENTATION

ONCE = {"epochs": 1, "warmup_epochs": 0, "batch_size": 4}
TASKS: dict[str, tuple[Any, Any, Any]] = {
    "classification": (replace(RECIPE, **ONCE, mixup=0, cutmix=0), Classification, lambda: list(images(6, 0))),
    "detection": (replace(DETECTION, **ONCE), Detection, lambda: [DetectionScenes(4)[i] for i in range(4)]),
    "segmentation": (replace(SEGMENTATION, **ONCE), Segmentation, lambda: [SegmentationScenes(4)[i] for i in range(4)]),
}


@dataclass
class Items(Dataset):
    task: str
    items: list[Any]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]

    def each(self, image: Any = None, what: Any = None) -> None:
        """Every item has another image, or another label, target or map."""
        self.items = [(image(one) if image else one, what(other) if what else other) for one, other in self.items]


def image(*changes: Any):
    return lambda rng, data: data.each(image=rng.choice(changes))


def label(*changes: Any):
    return lambda rng, data: data.each(what=rng.choice(changes))


def field(name: str, *changes: Any):
    return label(*(lambda target, change=change: {**target, name: change(target[name])} for change in changes))


FOR_ALL = {
    "bytes of NumPy's kind": Oddity(image(lambda one: torch.from_numpy(one.numpy().copy()))),
    "other strides": Oddity(image(lambda one: one.permute(1, 2, 0).contiguous().permute(2, 0, 1))),
    "fractions": Oddity(image(lambda one: one / 255), "uint8", fatal=True),
    "normalized": Oddity(image(lambda one: (one / 255 - 0.45) / 0.22), "uint8", fatal=True),
    "whole numbers": Oddity(image(lambda one: one.long(), lambda one: one.short()), "uint8", fatal=True),
    "channels last": Oddity(image(lambda one: one.permute(1, 2, 0)), r"\(3, H, W\)|shape", fatal=True),
    "four channels": Oddity(image(lambda one: torch.cat([one, one[:1]])), r"\(3, H, W\)|shape", fatal=True),
}
ODDITIES = {
    "classification": {
        **FOR_ALL,
        "labels of Python": Oddity(label(int)),
        "labels of NumPy": Oddity(label(lambda one: np.int64(one), lambda one: np.int32(one))),
        "labels from 1": Oddity(label(lambda one: one + 1), "label", fatal=True),
        "labels below 0": Oddity(label(lambda one: one - 1), "label", fatal=True),
        "fractions as labels": Oddity(label(float, lambda one: one / 2), "label", fatal=True),
        "one-hot labels": Oddity(label(lambda one: torch.eye(2)[one]), "label", fatal=True),
        "names as labels": Oddity(label(lambda one: "ab"[one]), "label", fatal=True),
    },
    "detection": {
        **FOR_ALL,
        "labels from 0": Oddity(field("labels", lambda one: one * 0), "labels", fatal=True),
        "labels too great": Oddity(field("labels", lambda one: one + 8), "labels", fatal=True),
        "labels of another kind": Oddity(field("labels", torch.Tensor.int, torch.Tensor.float), "labels", fatal=True),
        "masks of 255": Oddity(field("masks", lambda one: one * 255), "masks", fatal=True),
        "masks of another size": Oddity(field("masks", lambda one: one[..., :-1]), "masks", fatal=True),
        "boxes outside": Oddity(field("boxes", lambda one: one + 500, lambda one: one - 60), "boxes", fatal=True),
        "no box at all": Oddity(field("boxes", lambda one: one[:, [2, 3, 0, 1]], lambda one: one * math.nan), "boxes",
                                fatal=True),
        "boxes of another kind": Oddity(field("boxes", torch.Tensor.long, lambda one: one[:, :3]), "boxes", fatal=True),
        "no boxes": Oddity(label(lambda one: {k: v for k, v in one.items() if k != "boxes"}), "boxes", fatal=True),
        "no crowd": Oddity(label(lambda one: {k: v for k, v in one.items() if k != "crowd"}), "crowd"),
        "only crowds": Oddity(field("crowd", lambda one: one | True), "crowd|object", fatal=True),
    },
    "segmentation": {
        **FOR_ALL,
        "unknown class": Oddity(label(lambda one: one + 9, lambda one: one - 1), "map", fatal=True),
        "bytes": Oddity(label(lambda one: one.byte()), "map|int64"),
        "fractions as classes": Oddity(label(lambda one: one.float()), "map", fatal=True),
        "map of another size": Oddity(label(lambda one: one[:-1], lambda one: one[None]), "map", fatal=True),
        "background": Oddity(label(lambda one: one * 0, lambda one: one.gt(0) * 255), "background|class", fatal=True),
    },
}  # fmt: skip


def own(number: int, folder: Path) -> Trial:
    rng = Random(number)
    task = list(TASKS)[number % 3]
    recipe, kind, items = TASKS[task]
    data = Items(task, items())
    odd = choose(rng, number // 3, ODDITIES[task])
    for one in odd.values():
        one.change(rng, data)
    test = data if rng.random() < 0.5 else Items(task, items())

    def attempt() -> None:
        torch.manual_seed(0)
        model = small_model() if task == "classification" else recipe.build(8 if task == "detection" else 9)
        (metrics,) = train(model, data, test, recipe, task=kind(recipe), progress=False)
        if not math.isfinite(metrics.train_loss) or not 0 <= metrics.score <= 1:
            raise Odd(f"{metrics}")

    trained = trial(odd, attempt)
    return replace(trained, name=f"{task}: {trained.name}")
