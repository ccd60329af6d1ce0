"""The miniature experiments that the chapters run on the page: a task that needs the whole image, the shortest
training loop that does the job, a score.

Legend: B batch, H height, W width.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnest_edu.data import TEST_START, draw_scenes
from resnest_edu.training.augmentation import normalize


def figure_and_ground(count: int, *, split: Literal["train", "test"] = "train") -> tuple[Tensor, Tensor]:
    """Scenes of one object, and which positions of a map of half their size belong to it.

    Shape: images, float32 (count, 3, 32, 32), normalized; targets, int64 (count, 16, 16), 1 on the object, 0 elsewhere.
    """
    scenes = draw_scenes(0 if split == "train" else TEST_START, count)
    targets = torch.from_numpy(scenes.semantic[:, ::2, ::2] > 0).long()
    return normalize(torch.from_numpy(scenes.images)), targets


def fit(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    peak: float,
    seed: int,
    batch: int = 64,
) -> None:
    """Train ``network`` in place by cross-entropy, and leave it in evaluation mode: SGD with Nesterov momentum, one
    cycle of the learning rate.

    Shape: images (B, 3, H, W); targets (B) or (B, H', W'), as the output has it.

    Args:
        network: what to train.
        images: all of them, normalized.
        targets: class indices.
        epochs: passes over the images.
        peak: the highest learning rate, reached after a fifth of the steps.
        seed: decides the order of the images.
        batch: images per step.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        network.parameters(),
        peak,
        momentum=0.9,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        peak,
        total_steps=epochs * -(-len(images) // batch),
        pct_start=0.2,
    )
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for chosen in order.split(batch):
            loss = F.cross_entropy(network(images[chosen]), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()


def overlap(predicted: Tensor, target: Tensor) -> float:
    """Intersection over union of two maps of 0 and 1 of the same shape, in per cent."""
    return 100 * ((predicted & target).sum() / (predicted | target).sum()).item()
