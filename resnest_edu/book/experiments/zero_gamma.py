"""What does a fresh network do with γ = 0 in the last norm of each block, and with γ = 1: how large do its activations
grow, and which learning rates does it bear?

The activations are those of a fresh ResNeSt-50 in training mode, on noise. For the rates, a narrow network of nine
blocks takes 25 steps on the drawn shapes, at a constant rate. A seed decides weights and pictures, alike for all.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnest_edu import Bottleneck, ResNeSt, Variant, create_model
from resnest_edu.data import SHAPE_CLASSES, ShapesDataset
from resnest_edu.training.augmentation import normalize

NEEDS_CUDA = False
SEEDS = range(20)
GAMMAS = (0, 1)
RATES = (0.01, 0.05, 0.2)
DEEP = Variant((3, 3, 3), planes=(8, 16, 32), stem_width=8, pool_first=True)
LARGE, LARGE_SIZE = "resnest50", 96
STEPS, BATCH, PICTURES = 25, 64, 1280


def run_seed(seed: int) -> dict[str, Any]:
    """The activations' sizes by block, and the losses by step, of both γ."""
    return {
        "sizes": {f"γ = {gamma}": sizes_after_blocks(gamma, seed) for gamma in GAMMAS},
        "losses": {f"rate {rate}": {f"γ = {gamma}": losses(gamma, rate, seed) for gamma in GAMMAS} for rate in RATES},
    }


def set_gamma(network: nn.Module, gamma: float) -> list[Bottleneck]:
    """Give the last norm of each block this scale; returns the blocks."""
    blocks = [module for module in network.modules() if isinstance(module, Bottleneck)]
    for block in blocks:
        nn.init.constant_(block.bn3.weight, gamma)
    return blocks


@torch.no_grad()
def sizes_after_blocks(gamma: float, seed: int) -> list[float]:
    """The standard deviation of what each block of a fresh network returns."""
    torch.manual_seed(seed)
    network, found = create_model(LARGE), []
    for block in set_gamma(network, gamma):
        block.register_forward_hook(lambda block, inputs, output: found.append(round(output.std().item(), 3)))
    network.train()(torch.randn(4, 3, LARGE_SIZE, LARGE_SIZE))
    return found


@cache
def pictures() -> tuple[Tensor, Tensor]:
    images, labels = ShapesDataset(PICTURES).tensors()
    return F.avg_pool2d(normalize(images), 2), labels  # half as large, to save time


def losses(gamma: float, rate: float, seed: int) -> list[float]:
    """The training loss of every step."""
    images, labels = pictures()
    torch.manual_seed(seed)
    network = ResNeSt(DEEP, num_classes=len(SHAPE_CLASSES)).train()
    set_gamma(network, gamma)
    optimizer = torch.optim.SGD(network.parameters(), rate, momentum=0.9, nesterov=True)
    found = []
    for _ in range(STEPS):
        chosen = torch.randint(len(images), (BATCH,))
        loss = F.cross_entropy(network(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(round(loss.item(), 3))
    return found
