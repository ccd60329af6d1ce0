"""Classification as the loop trains it: what chance makes of a batch, the loss, the accuracy.

Legend: B batch, H height, W width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from resnest_edu.training.augmentation import apply_policy, flip_and_shift, normalize
from resnest_edu.training.batches import Plan, TensorImages, require_batch, require_labels, training_batches
from resnest_edu.training.distributed import Group
from resnest_edu.training.evaluation import evaluate, evaluation_mode, together
from resnest_edu.training.mixing import cutmix, equivalent_epsilon, mixup
from resnest_edu.training.recipe import Recipe
from resnest_edu.training.task import EpochMetrics, Task, half_precision


@dataclass(frozen=True, kw_only=True)
class ClassificationMetrics(EpochMetrics):
    """One line of ``metrics.jsonl``: accuracies as fractions, losses in nats, the rate at the epoch's end. Where images
    are mixed, the training accuracy counts the class that has the larger part."""

    score_name: ClassVar[str] = "test_accuracy"
    score_title: ClassVar[str] = "test accuracy"

    train_accuracy: float
    test_loss: float
    test_accuracy: float


def prepare(
    images: Tensor, labels: Tensor, recipe: Recipe, classes: int | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What chance makes of a batch, as the recipe says: the network's input and its targets.

    Images that the recipe crops come here cropped, mirrored and coloured already, one by one.

    Shape: uint8 (B, 3, H, W), int64 (B,) -> float32 (B, 3, H, W); int64 (B,), or float32 (B, classes) if the recipe
    mixes images.
    """
    if not recipe.crop:
        images = flip_and_shift(images, flip=recipe.flip, shift=recipe.shift, generator=generator)
        images = apply_policy(images, recipe.policy, generator=generator)
    inputs = normalize(images).contiguous(memory_format=torch.channels_last)
    if classes is None:
        return inputs, labels
    targets = F.one_hot(labels, classes).float()
    mixes = recipe.mixup > 0 and not (recipe.cutmix > 0 and torch.rand((), generator=generator) < 0.5)
    if mixes:
        return mixup(inputs, targets, recipe.mixup, per=recipe.mix_per, generator=generator)
    return cutmix(inputs, targets, recipe.cutmix, generator=generator)


def smoothed_loss(logits: Tensor, targets: Tensor, recipe: Recipe, count: int) -> Tensor:
    """Cross-entropy with the recipe's label smoothing, summed over the batch and divided by ``count``."""
    epsilon = recipe.label_smoothing
    if recipe.smoothing == "others":
        epsilon = equivalent_epsilon(epsilon, logits.shape[1])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # from half precision
    targets = targets.to(logits) if targets.is_floating_point() else targets
    return F.cross_entropy(logits, targets, label_smoothing=epsilon, reduction="sum") / count


class Classification(Task):
    """One label an image. Items are (image uint8 (3, H, W), label); what is predicted, (B, classes) logits.

    Args:
        recipe: what chance does to a batch, and how its labels are smoothed.
        classes: how many the network tells apart; if None, it is asked, on one image.

    Raises:
        ValueError: images are not bytes, labels are not integers, or beyond what the network tells apart.
    """

    metrics = ClassificationMetrics
    tallies = ("train_accuracy",)
    compiles = True

    def __init__(self, recipe: Recipe, classes: int | None = None) -> None:
        self.recipe = recipe
        self.classes = self._given = classes
        self._model: nn.Module | None = None

    def begin(self, model: nn.Module, data: Dataset, device: torch.device) -> None:
        self.classes, self._model, self._device = self._given, model, device

    def check_test_data(self, data: Dataset, name: str = "test_data") -> None:
        if not len(data):  # type: ignore[arg-type]
            raise ValueError(f"{name} (=0 images) must contain at least one image")
        if isinstance(data, TensorImages):
            self._ask(data.images)
            require_labels(data.labels, self.classes)

    def _ask(self, images: Tensor) -> None:
        """Let the network say, on the first of the images, how many classes it tells apart."""
        if self.classes is not None or self._model is None:
            return
        with torch.inference_mode(), evaluation_mode(self._model):
            logits = self._model(normalize(images[:1].to(self._device)))
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            kind = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"model's output (={kind}) must be logits of shape (B, classes)")
        self.classes = logits.shape[1]

    @property
    def mixes(self) -> bool:
        return self.recipe.mixup > 0 or self.recipe.cutmix > 0

    def batches(
        self, data: Dataset, plan: Plan, *, first: int, workers: int, pin_memory: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        whole = data.labels if isinstance(data, TensorImages) else None  # checked once: to look at a GPU's takes time
        for step, batch in enumerate(training_batches(data, plan, first=first, workers=workers, pin_memory=pin_memory)):
            images, labels = require_batch(batch)
            if not step:
                self._ask(images)
            if whole is None or not step:
                require_labels(labels if whole is None else whole, self.classes)
            yield images, labels.long()

    def step(
        self,
        network: Callable[[Tensor], Tensor],
        batch: tuple[Tensor, Tensor],
        *,
        count: int,
        device: torch.device,
        generator: torch.Generator,
    ) -> tuple[Tensor, tuple[Tensor]]:
        images, labels = (one.to(device, non_blocking=True) for one in batch)
        classes = self.classes if self.mixes else None
        inputs, targets = prepare(images, labels, self.recipe, classes, generator)
        with half_precision(device, self.recipe.precision):
            logits = network(inputs)
        right = targets.argmax(1) if targets.ndim == 2 else targets
        correct = (logits.argmax(1) == right).sum()
        return smoothed_loss(logits, targets, self.recipe, count), (correct,)

    def measure(self, model: nn.Module, data: Dataset, *, workers: int, group: Group) -> dict[str, float]:
        batch_size = together(self.recipe, group)
        loss, accuracy = evaluate(model, data, batch_size=batch_size, workers=workers, group=group)
        return {"test_loss": loss, "test_accuracy": accuracy}
