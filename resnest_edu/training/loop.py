"""One loop that trains, and one that measures.

Legend: B batch, N images, H height, W width.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from resnest_edu.arguments import require_positive_int
from resnest_edu.training.augment import flip_and_shift, normalize
from resnest_edu.training.data import batches
from resnest_edu.training.recipe import Recipe, parameter_groups
from resnest_edu.training.schedule import learning_rate


@dataclass(frozen=True)
class EpochMetrics:
    """One line of ``metrics.jsonl``: accuracies as fractions, losses in nats, the rate at the epoch's end."""

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    learning_rate: float
    images_per_second: float
    seconds: float


def default_device() -> torch.device:
    """CUDA where there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def predict(model: nn.Module, images: Tensor, *, batch_size: int = 256) -> Tensor:
    """Class probabilities in evaluation mode. Shape: uint8 (N, 3, H, W) -> float32 (N, classes), on the CPU."""
    require_positive_int(batch_size=batch_size)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        chunks = [model(normalize(chunk.to(device))).softmax(1).float().cpu() for chunk in images.split(batch_size)]
    model.train(was_training)
    return torch.cat(chunks)


def evaluate(model: nn.Module, data: Dataset, *, batch_size: int = 256, workers: int = 0) -> tuple[float, float]:
    """Mean cross-entropy in nats and accuracy as a fraction, in evaluation mode."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    loss = correct = count = 0.0
    with torch.inference_mode():
        for images, labels in batches(data, batch_size, workers=workers):
            images, labels = images.to(device), labels.to(device)
            logits = model(normalize(images)).float()
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            correct += (logits.argmax(1) == labels).sum().item()
            count += len(labels)
    model.train(was_training)
    return loss / count, correct / count


def train(
    model: nn.Module,
    train_data: Dataset,
    test_data: Dataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    workers: int = 0,
    metrics_file: Path | None = None,
    progress: bool | None = None,
    after_epoch: Callable[[EpochMetrics], None] | None = None,
) -> list[EpochMetrics]:
    """Train ``model`` in place by the recipe and measure it after every epoch.

    Stochastic gradient descent with Nesterov momentum, linear warm-up and a cosine. The seed decides order,
    mirrors and shifts; the model's weights are the caller's to seed. On CUDA the network runs in bfloat16
    autocast; everywhere its memory format is channels-last.

    Args:
        model: maps (B, 3, H, W) to (B, classes).
        train_data: yields (uint8 image (3, H, W), label); see :class:`TensorImages` for data in memory.
        test_data: likewise.
        recipe: how to train; its ``model`` and ``image_size`` are not looked at.
        seed: of the data order and the augmentation.
        device: where to train; CUDA where there is one if None.
        workers: processes that read data which is not in memory.
        metrics_file: gets one JSON object a line, after every epoch.
        progress: draw a progress bar; if None, only on a terminal.
        after_epoch: called with every epoch's metrics.

    Returns:
        The metrics of every epoch.

    Raises:
        ValueError: there are fewer than two training images.
        FloatingPointError: the loss stopped being a finite number; the message has the step and the rate.
    """
    count = len(train_data)  # type: ignore[arg-type]
    if count < 2:
        raise ValueError(f"train_data (={count} images) must have at least 2")
    device = device or default_device()
    model.to(device).to(memory_format=torch.channels_last).train()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        parameter_groups(model, recipe.weight_decay), lr=0.0, momentum=recipe.momentum, nesterov=recipe.momentum > 0
    )
    epoch_steps = math.ceil(count / recipe.batch_size) - (count % recipe.batch_size == 1)
    total_steps = recipe.epochs * epoch_steps
    warmup_steps = min(round(recipe.warmup_epochs * epoch_steps), total_steps - 1)
    history = []
    step = 0
    bar = tqdm(
        total=recipe.epochs * count, unit="img", unit_scale=True, disable=None if progress is None else not progress
    )
    for epoch in range(1, recipe.epochs + 1):
        start = time.perf_counter()
        total_loss = torch.zeros((), device=device)
        correct = torch.zeros((), device=device)
        seen = 0
        for images, labels in batches(train_data, recipe.batch_size, generator=generator, workers=workers):
            rate = learning_rate(step, peak=recipe.peak_rate, warmup_steps=warmup_steps, total_steps=total_steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            images, labels = images.to(device), labels.to(device)
            images = flip_and_shift(images, flip=recipe.flip, shift=recipe.shift, generator=generator)
            inputs = normalize(images).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = model(inputs)
                loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total_loss += loss.detach() * len(labels)
            correct += (logits.detach().argmax(1) == labels).sum()
            seen += len(labels)
            step += 1
            bar.update(len(labels))
        train_loss = total_loss.item() / seen
        if not math.isfinite(train_loss):
            bar.close()
            raise FloatingPointError(
                f"the training loss is {train_loss} in epoch {epoch}, at step {step}, with the learning rate at "
                f"{rate:.4g}: lower base_rate (={recipe.base_rate})"
            )
        train_seconds = time.perf_counter() - start
        test_loss, test_accuracy = evaluate(model, test_data, workers=workers)
        metrics = EpochMetrics(
            epoch=epoch,
            train_loss=train_loss,
            train_accuracy=correct.item() / seen,
            test_loss=test_loss,
            test_accuracy=test_accuracy,
            learning_rate=rate,
            images_per_second=seen / train_seconds,
            seconds=time.perf_counter() - start,
        )
        history.append(metrics)
        bar.set_postfix_str(f"epoch {epoch}/{recipe.epochs}, test accuracy {100 * test_accuracy:.1f} %")
        if metrics_file is not None:
            with metrics_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(metrics)) + "\n")
        if after_epoch is not None:
            after_epoch(metrics)
    bar.close()
    return history
