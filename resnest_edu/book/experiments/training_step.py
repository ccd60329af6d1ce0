"""How fast is a step of our loop beside a bare step of timm's network?

The same network, ResNeSt-50, by the same recipe: our loop's whole step, with its chance, its label smoothing, its sums
for the metrics, against the shortest step that trains timm's, in each memory format. In turns.
"""

import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnest_edu.speed import accelerate
from resnest_edu.speed.benchmark_networks import NETWORKS, OURS, PEER, network_precision
from resnest_edu.speed.timing import Call, interleave
from resnest_edu.training.augmentation import normalize
from resnest_edu.training.batches import Plan
from resnest_edu.training.classification import Classification
from resnest_edu.training.loop import Run
from resnest_edu.training.recipe import Recipe

NEEDS_CUDA = False
THREADS = os.cpu_count() or 1
SIZES = {"cpu": (8, 128), "cuda": (128, 224)}
ROUNDS = 9


def our_step(recipe: Recipe, images: Tensor, labels: Tensor) -> Call:
    """A whole step of :func:`resnest_edu.training.train`."""
    model = accelerate(NETWORKS["ours"]().to(images.device, memory_format=torch.channels_last).train())  # type: ignore[call-overload]
    plan = Plan(1_000_000, len(images), recipe.epochs, seed=0)
    run = Run(model, recipe, Classification(recipe), plan, images.device)

    def step() -> None:
        run.take_step(model, (images, labels))
        run.require_finite("")

    return step


def their_step(recipe: Recipe, images: Tensor, labels: Tensor, layout: torch.memory_format) -> Call:
    """What a user of timm writes: normalize, forward, loss, backward, step."""
    model: nn.Module = NETWORKS[PEER]().to(images.device, memory_format=layout).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, nesterov=True, weight_decay=1e-4, fused=True)

    def step() -> None:
        inputs = normalize(images).contiguous(memory_format=layout)
        with network_precision(images.device):
            loss = F.cross_entropy(model(inputs), labels, label_smoothing=recipe.label_smoothing)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()

    return step


def run(device: torch.device) -> dict[str, Any]:
    """Images a second of each, and ours ÷ the better of timm's two."""
    batch, size = SIZES[device.type]
    recipe = Recipe(model="resnest50", image_size=size, epochs=2, batch_size=batch, base_rate=0.01, warmup_epochs=1)
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
    labels = torch.arange(batch, device=device) % 1000
    calls = {
        OURS: our_step(recipe, images, labels),
        PEER: their_step(recipe, images, labels, torch.channels_last),
        f"{PEER}, channels first": their_step(recipe, images, labels, torch.contiguous_format),
    }
    timings = interleave(calls, device, rounds=ROUNDS, repeats=1 if device.type == "cpu" else 5)
    rows = {
        name: {
            "images_per_second": batch / timing.median,
            "low": batch / timing.high,
            "high": batch / timing.low,
            "rounds": timing.rounds,
        }
        for name, timing in timings.items()
    }
    best = max(row["images_per_second"] for name, row in rows.items() if name != OURS)
    return {"batch": batch, "size": size, "rows": rows, "ratio": rows[OURS]["images_per_second"] / best}
