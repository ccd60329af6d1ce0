"""What the loop leaves to the problem: the batches, the loss, the measure.

The loop knows steps, rates, averages and checkpoints. What an image comes with, and what it means to be right, is the
task's: :class:`~resnest_edu.training.classification.Classification`, or one of :mod:`resnest_edu.transfer`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from resnest_edu.arguments import plain
from resnest_edu.training.batches import Plan
from resnest_edu.training.distributed import Group
from resnest_edu.training.recipe import Precision


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """One line of ``metrics.jsonl``, without what is the task's own: losses in nats, the rate at the epoch's end.

    Where validation images choose the best epoch, ``val`` has what is measured on them after every epoch, and only the
    best epoch's network is measured on the test images: the others' numbers there are NaN.
    """

    score_name: ClassVar[str]
    """The field by which epochs are compared; a fraction, the greater the better."""
    score_title: ClassVar[str]
    """What to call it."""

    epoch: int
    train_loss: float
    learning_rate: float
    images_per_second: float
    seconds: float
    val: dict[str, float] | None = None

    @property
    def score(self) -> float:
        """What epochs are compared by, on the validation images where there are some."""
        return getattr(self, self.score_name) if self.val is None else self.val[self.score_name.removeprefix("test_")]

    def describe(self) -> str:
        title = self.score_title.removeprefix("test ")
        found = {self.score_title if self.val is None else f"val {title}": self.score}
        test = getattr(self, self.score_name)
        if self.val is not None and not math.isnan(test):
            found[f"test {title}"] = test
        return ", ".join(
            f"{title} {'undefined on these images' if math.isnan(score) else f'{100 * score:.2f} %'}"
            for title, score in found.items()
        )

    def row(self) -> dict[str, Any]:
        """What ``metrics.jsonl`` holds of the epoch: null for what is not a finite number, which JSON does not know."""
        values = {name: plain(value) for name, value in asdict(self).items() if name != "val"}
        values |= {f"val_{name}": plain(value) for name, value in (self.val or {}).items()}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }


def best_of(history: Sequence[EpochMetrics]) -> EpochMetrics:
    """The first epoch of the highest score; one that cannot be measured is better than none."""
    return max(history, key=lambda metrics: metrics.score if math.isfinite(metrics.score) else -1.0)


class Task(ABC):
    """A problem to train on.

    Attributes:
        metrics: what an epoch's metrics are.
        tallies: the names of those metrics that a step counts on its own training images.
        compiles: whether the network can run compiled while it is trained.
    """

    metrics: type[EpochMetrics]
    tallies: tuple[str, ...] = ()
    compiles: bool = False

    def begin(self, model: nn.Module, data: Dataset, device: torch.device) -> None:  # noqa: B027
        """Look at the network and its data before the first step; most tasks need not."""

    def check_test_data(self, data: Dataset, name: str = "test_data") -> None:  # noqa: B027
        """Raise ValueError, before the first step, if a network cannot be measured on the data, which the error calls
        ``name``; most tasks need not."""

    @abstractmethod
    def batches(self, data: Any, plan: Plan, *, first: int, workers: int, pin_memory: bool) -> Iterator[Any]:
        """This process's part of every step from ``first`` to the end of the run. To be cut into micro-batches, it must
        be a tuple whose members have an entry an image."""

    @abstractmethod
    def step(
        self, network: Any, batch: Any, *, count: int, device: torch.device, generator: torch.Generator
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The loss of a batch or micro-batch, whose gradient is its part of the step's, and its tallies.

        The loss is summed over this process's images and divided by ``count``, the number of all processes' images; the
        tallies are summed. Chance is drawn from ``generator``, or from the global one, which the loop has seeded.
        """

    @abstractmethod
    def measure(self, model: nn.Module, data: Any, *, workers: int, group: Group) -> dict[str, float]:
        """The metrics of a network on images that it was not trained on, by their names."""


def precision_on(device: torch.device, precision: Precision = "auto") -> torch.dtype:
    """What a recipe's precision is on a device."""
    if precision != "auto":
        return getattr(torch, precision)
    if device.type != "cuda":
        return torch.float32
    with torch.cuda.device(device):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def half_precision(device: torch.device, precision: Precision = "auto") -> AbstractContextManager:
    """Convolutions and dense layers in half precision, where a recipe's precision on the device is one."""
    dtype = precision_on(device, precision)
    halves = dtype != torch.float32
    return torch.autocast(device.type, dtype if halves else torch.bfloat16, enabled=halves)
