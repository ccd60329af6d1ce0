"""What the loop leaves to the problem: the batches, the loss, the measure.

The loop knows steps, rates, averages and checkpoints. What an image comes with, and what it means to be right, is the
task's: :class:`~resnest_edu.training.classification.Classification`, or one of :mod:`resnest_edu.transfer`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from resnest_edu.arguments import plain
from resnest_edu.training.batches import Plan
from resnest_edu.training.distributed import Group


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """One line of ``metrics.jsonl``, without what is the task's own: losses in nats, the rate at the epoch's end."""

    score_name: ClassVar[str]
    """The field by which epochs are compared; a fraction, the greater the better."""
    score_title: ClassVar[str]
    """What to call it."""

    epoch: int
    train_loss: float
    learning_rate: float
    images_per_second: float
    seconds: float

    @property
    def score(self) -> float:
        return getattr(self, self.score_name)

    def describe(self) -> str:
        if math.isnan(self.score):
            return f"{self.score_title} undefined on these images"
        return f"{self.score_title} {100 * self.score:.2f} %"

    def row(self) -> dict[str, Any]:
        """What ``metrics.jsonl`` holds of the epoch: null for what is not a finite number, which JSON does not know."""
        values = {name: plain(value) for name, value in asdict(self).items()}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }


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

    def check_test_data(self, data: Dataset) -> None:  # noqa: B027
        """Raise ValueError, before the first step, if a network cannot be measured on the data; most tasks need not."""

    @abstractmethod
    def batches(self, data: Any, plan: Plan, *, first: int, workers: int, pin_memory: bool) -> Iterator[Any]:
        """This process's part of every step from ``first`` to the end of the run."""

    @abstractmethod
    def step(
        self, network: Any, batch: Any, *, count: int, device: torch.device, generator: torch.Generator
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The loss of a batch, whose gradient is the step's, and its tallies.

        The loss is summed over this process's images and divided by ``count``, the number of all processes' images; the
        tallies are summed. Chance is drawn from ``generator``, or from the global one, which the loop has seeded.
        """

    @abstractmethod
    def measure(self, model: nn.Module, data: Any, *, workers: int, group: Group) -> dict[str, float]:
        """The metrics of a network on images that it was not trained on, by their names."""


def half_precision(device: torch.device) -> AbstractContextManager:
    """On CUDA, convolutions and dense layers in bfloat16."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
