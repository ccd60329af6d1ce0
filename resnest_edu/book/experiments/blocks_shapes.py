"""What does each block of the book bring, and what does it cost, in one small network at equal multiply-adds?

The comparison of ``ablation`` in the size of a laptop: the network of the recipe ``shapes``, once with each middle in
its blocks, trained from five seeds: by that recipe, after which there is little left to learn, and by a shorter one, on
fewer pictures, after which there is. A seed means the same pictures in the same order, with the same augmentation, for
all. At the end they are timed in turns, with the machine to themselves.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnest_edu.book.records import summarize as over_seeds
from resnest_edu.book.rivals import CONTENDERS, IMAGE_SIZE, create_contender
from resnest_edu.book.side_by_side import side_by_side
from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.network.costs import multiply_adds, parameter_count
from resnest_edu.network.resnest import VARIANTS
from resnest_edu.speed.timing import Call, interleave
from resnest_edu.training import RECIPES, Recipe, TensorImages, shapes_data, train

NEEDS_CUDA = False
SEEDS = range(5)
SIDE_BY_SIDE = 2
ROUNDS = 15
RECIPE = RECIPES["shapes"]
REFERENCE = VARIANTS[RECIPE.model]
SETTINGS: dict[str, tuple[Recipe, int]] = {
    "full": (RECIPE, 12_000),
    "short": (replace(RECIPE, epochs=2, batch_size=32, base_rate=2.0), 6_000),
}
"""By which recipe, and on how many pictures."""
TIMES = "times"
PIECES = (*(f"{setting}: {kind}, seed {seed}" for setting in SETTINGS for seed in SEEDS for kind in CONTENDERS), TIMES)


def run_pieces(
    names: Iterable[str], device: torch.device, data: Path | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train once for each name, two at a time; the times last, and alone."""
    for alone, group in groupby(names, key=lambda name: name == TIMES):
        run = measure_times if alone else train_once
        yield from side_by_side(partial(run, device=device), group, processes=1 if alone else SIDE_BY_SIDE)


def build(kind: str) -> nn.Module:
    """The network with these blocks and fresh weights, for the eight shapes."""
    return create_contender(kind, len(SHAPE_CLASSES), REFERENCE)


def train_once(name: str, *, device: torch.device) -> dict[str, Any]:
    """Train once; returns cost and accuracy."""
    setting, rest = name.split(": ")
    kind, seed = rest.split(", seed ")
    recipe, count = SETTINGS[setting]
    train_data, test_data = shapes_data(recipe, int(seed))
    train_data = TensorImages(train_data.images[:count], train_data.labels[:count])
    torch.manual_seed(int(seed))
    model = build(kind)
    figures = {"parameters": parameter_count(model), "multiply_adds": multiply_adds(model, IMAGE_SIZE)}
    history = train(model, train_data, test_data, recipe, seed=int(seed), device=device, progress=False)
    return {**figures, "test_accuracy": history[-1].score}


def measure_times(name: str, *, device: torch.device) -> dict[str, Any]:
    """Seconds of a batch at inference, and of forward and backward in training, of all networks in turns."""
    torch.manual_seed(0)
    images = torch.randn(RECIPE.batch_size, 3, IMAGE_SIZE, IMAGE_SIZE, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(RECIPE.batch_size, device=device) % len(SHAPE_CLASSES)
    models = {kind: build(kind).to(device, memory_format=torch.channels_last) for kind in CONTENDERS}  # type: ignore[call-overload]
    training = {kind: _training_call(model, images, labels) for kind, model in models.items()}
    times = {"training": interleave(training, device, rounds=ROUNDS, repeats=2)}
    inference = {kind: _inference_call(model.eval(), images) for kind, model in models.items()}
    times["inference"] = interleave(inference, device, rounds=ROUNDS, repeats=5)
    return {how: {kind: asdict(timing) for kind, timing in timings.items()} for how, timings in times.items()}


def _training_call(model: nn.Module, images: Tensor, labels: Tensor) -> Call:
    def step() -> None:
        model.zero_grad()
        F.cross_entropy(model(images), labels).backward()

    return step


def _inference_call(model: nn.Module, images: Tensor) -> Call:
    @torch.inference_mode()
    def predict() -> None:
        model(images)

    return predict


def summarize(pieces: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """For each block: what its network costs, in each setting the seeds' accuracies, their mean and deviation, and its
    times."""
    blocks = {}
    for kind in CONTENDERS:
        runs = {
            setting: [pieces[f"{setting}: {kind}, seed {seed}"]["test_accuracy"] for seed in SEEDS]
            for setting in SETTINGS
        }
        costs = pieces[f"{next(iter(SETTINGS))}: {kind}, seed {SEEDS[0]}"]
        blocks[kind] = {
            **{key: costs[key] for key in ("parameters", "multiply_adds")},
            "test_accuracies": runs,
            "test_accuracy": {setting: over_seeds(accuracies) for setting, accuracies in runs.items()},
            "seconds": {how: timings[kind] for how, timings in pieces[TIMES].items()},
        }
    settings = {name: {"pictures": count, **asdict(recipe)} for name, (recipe, count) in SETTINGS.items()}
    return {"settings": settings, "timed_batch": RECIPE.batch_size, "seeds": list(SEEDS), "blocks": blocks}
