"""Training runs on CIFAR-10: what the pieces of the experiments are made of.

The clock of a run starts with its first step. It does not count reading the images, nor compiling and recording graphs,
which is ``preparation_seconds``; it does count augmentation and the measurement after every epoch.
"""

import atexit
import functools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from resnest_edu.book.experiments import _cifar10
from resnest_edu.book.records import summarize
from resnest_edu.book.side_by_side import side_by_side
from resnest_edu.data import decode
from resnest_edu.network.costs import multiply_adds, parameter_count
from resnest_edu.speed.timing import fast_convolutions
from resnest_edu.training import Recipe, TensorImages, train

CLASSES = len(_cifar10.CLASSES)
Images = tuple[TensorImages, TensorImages]
Figures = dict[str, Any]
Build = Callable[[int], nn.Module]


@dataclass(frozen=True)
class Job:
    """One training run, or, if ``speed_only``, a short one that only tells how fast the network trains.

    Attributes:
        name: of the piece.
        build: makes the network for so many classes, with weights from torch's global generator; can be pickled.
        recipe: how to train it.
        seed: of the weights, the order of the data and the augmentation. Equal seeds mean the same order and the same
            augmentation, whatever the network.
        speed_only: train on a part of the images, and look at the seconds only.
        alone: nothing else may run meanwhile, or the seconds would mean little.
    """

    name: str
    build: Build
    recipe: Recipe
    seed: int = 0
    speed_only: bool = False
    alone: bool = False


def run_jobs(
    names: Iterable[str], jobs: Mapping[str, Job], device: torch.device, data: Path, *, processes: int
) -> Iterator[tuple[str, Figures]]:
    """Run the jobs of these names, up to ``processes`` side by side on CUDA and one after another on the CPU."""
    run = functools.partial(run_job, file=_decoded(data), device=device)
    for alone, group in groupby((jobs[name] for name in names), key=lambda job: job.alone):
        count = processes if device.type == "cuda" and not alone else 1
        for job, figures in side_by_side(run, group, processes=count):
            yield job.name, figures


@functools.cache
def _decoded(folder: Path) -> Path:
    """A file with all images decoded, for several experiments and their processes; it goes when this process ends."""
    splits = _cifar10.open_folder(folder)
    temporary = tempfile.TemporaryDirectory()
    atexit.register(temporary.cleanup)
    file = Path(temporary.name, "images.pt")
    torch.save([decode(split) for split in (splits.train, splits.test)], file)
    return file


@functools.lru_cache(maxsize=1)
def _load(file: Path, device: torch.device) -> Images:
    train_images, test_images = torch.load(file, mmap=True)
    return TensorImages(*train_images).to(device), TensorImages(*test_images).to(device)


def run_job(job: Job, *, file: Path, device: torch.device) -> Figures:
    """Train once; returns plain values."""
    images = _load(file, device)
    if job.speed_only:
        return _speed(job, images, device)
    if job.alone:
        _warm_up(job.build, job.recipe, file, device)
    start = time.perf_counter()
    history = _train(job, images, device)
    seconds = sum(metrics.seconds for metrics in history)
    count = len(images[0]) * len(history)
    return {
        **cost(job.build, job.recipe.image_size),
        "test_accuracy": history[-1].test_accuracy,
        "seconds": seconds,
        "images_per_second": count / sum(len(images[0]) / metrics.images_per_second for metrics in history),
        "preparation_seconds": time.perf_counter() - start - seconds,
        "epochs": [
            {key: getattr(metrics, key) for key in ("train_loss", "test_accuracy", "seconds")} for metrics in history
        ],
    }


def _train(job: Job, images: Images, device: torch.device) -> list[Any]:
    torch.manual_seed(job.seed)
    model = job.build(CLASSES)
    compiled = device.type == "cuda"
    with fast_convolutions(device):
        history = train(model, *images, job.recipe, seed=job.seed, device=device, compile=compiled, progress=False)
    # Compiled code outlives its network otherwise, and only so many versions of one network are kept.
    torch.compiler.reset()
    return history


def _part(images: Images, counts: tuple[int, int]) -> Images:
    train_data, test_data = (
        TensorImages(data.images[:count], data.labels[:count]) for data, count in zip(images, counts, strict=True)
    )
    return train_data, test_data


def _speed(job: Job, images: Images, device: torch.device, *, steps: int = 40, epochs: int = 4) -> Figures:
    """Images a second of a network that is trained for a few short epochs, of which the first does not count."""
    recipe = replace(job.recipe, epochs=1 + epochs, warmup_epochs=0)
    part = _part(images, (steps * recipe.batch_size, recipe.batch_size))
    history = _train(replace(job, recipe=recipe), part, device)
    return {"images_per_second": median(metrics.images_per_second for metrics in history[1:])}


@functools.lru_cache(maxsize=1)
def _warm_up(build: Build, recipe: Recipe, file: Path, device: torch.device) -> None:
    """Train for two steps and measure once, on batches of all sizes that are to come: what is chosen or compiled for a
    shape when it comes first, is so before the clock starts."""
    images = _load(file, device)
    counts = [len(data) for data in images]
    batch = recipe.batch_size
    part = _part(images, (min(batch, counts[0]) + counts[0] % batch, min(256, counts[1]) + counts[1] % 256))
    _train(Job("warm-up", build, replace(recipe, epochs=1, warmup_epochs=0)), part, device)


def over_seeds(runs: Iterable[Figures], keys: Iterable[str]) -> dict[str, dict[str, float]]:
    """Mean and deviation of these figures over the runs."""
    runs = list(runs)
    return {key: summarize([run[key] for run in runs]) for key in keys}


def settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe's numbers as plain values, without the network's name: what is trained may be another."""
    return {key: value for key, value in asdict(recipe).items() if key != "model"}


def cost(build: Build, size: int) -> dict[str, int]:
    """Parameters, and multiply-adds for one image of ``size`` pixels."""
    with torch.device("meta"):
        model = build(CLASSES)
    return {"parameters": parameter_count(model), "multiply_adds": multiply_adds(model, size)}
