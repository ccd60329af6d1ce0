"""Evaluation: what a network makes of images that it was not trained on.

Legend: B batch, N images, H height, W width.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from resnest_edu.arguments import require_positive_int
from resnest_edu.training.augmentation import normalize
from resnest_edu.training.batches import TensorImages, evaluation_batches, require_batch, require_labels
from resnest_edu.training.distributed import ALONE, Group
from resnest_edu.training.recipe import BaseRecipe


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """In evaluation mode; afterwards, whatever happens, each part of the model is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def together(recipe: BaseRecipe, group: Group = ALONE, *, most: int = 256) -> int:
    """How many images a process looks at together: no more than a step has, since memory may be short."""
    return min(most, max(1, recipe.batch_size // group.size))


def predict(model: nn.Module, images: Tensor, *, batch_size: int = 256) -> Tensor:
    """Class probabilities in evaluation mode. Shape: uint8 (N, 3, H, W) -> float32 (N, classes), on the CPU.

    The model is left in the mode it was in. Raises ValueError if the images are not bytes, or ``batch_size``, how many
    to look at together, is not a positive integer.

    Example:
        >>> from resnest_edu import create_model
        >>> from resnest_edu.data import ShapesDataset
        >>> from resnest_edu.training import predict
        >>> images, _ = ShapesDataset(4).tensors()
        >>> probabilities = predict(create_model("resnest11_small", 8), images)
        >>> probabilities.shape, probabilities.sum(1).round().tolist()
        (torch.Size([4, 8]), [1.0, 1.0, 1.0, 1.0])
    """
    require_positive_int(batch_size=batch_size)
    device = next(model.parameters()).device
    with torch.inference_mode(), evaluation_mode(model):
        chunks = [model(normalize(chunk.to(device))).float().softmax(1).cpu() for chunk in images.split(batch_size)]
    return torch.cat(chunks)


@torch.inference_mode()
def logits_and_labels(
    model: nn.Module, data: Dataset, *, batch_size: int = 256, workers: int = 0, group: Group = ALONE
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of this process's part of the images, batch by batch: logits, float32 (B, classes), and labels, int64 (B,).

    Args, errors: as for :func:`evaluate`.
    """
    require_positive_int(batch_size=batch_size)
    if not len(data):  # type: ignore[arg-type]
        raise ValueError("data (=0 images) must contain at least one image")
    device, whole = next(model.parameters()).device, data.labels if isinstance(data, TensorImages) else None
    with evaluation_mode(model):
        for step, batch in enumerate(evaluation_batches(data, batch_size, group=group, workers=workers)):
            images, labels = require_batch(batch)
            logits = model(normalize(images.to(device))).float()
            if whole is None or not step:
                require_labels(labels if whole is None else whole, logits.shape[1])
            yield logits, labels.to(device).long()


def evaluate(
    model: nn.Module, data: Dataset, *, batch_size: int = 256, workers: int = 0, group: Group = ALONE
) -> tuple[float, float]:
    """Mean cross-entropy in nats and accuracy as a fraction, in evaluation mode. Several processes share the images.

    Args:
        model: a classifier, which is left in the mode it was in.
        data: items are (image uint8 (3, H, W), label); see :class:`TensorImages` for data in memory.
        batch_size: how many to look at together.
        workers: processes that read data which is not in memory.
        group: the processes that share the images.

    Raises:
        ValueError: there are no images, or they are not bytes, or a label is none of the model's classes.
    """
    sums = torch.zeros(3, device=next(model.parameters()).device)  # loss, correct, images
    for logits, labels in logits_and_labels(model, data, batch_size=batch_size, workers=workers, group=group):
        sums[0] += F.cross_entropy(logits, labels, reduction="sum")
        sums[1] += (logits.argmax(1) == labels).sum()
        sums[2] += len(labels)
    loss, correct, count = group.sum(sums).tolist()
    return loss / count, correct / count
