"""Is a block of split attention faster one split at a time, on a CPU?

An ordinary block of each stage of ResNeSt-50, forward and backward, two images, float32: as stored and one split at a
time, in both memory formats. The four take turns, on one thread.
"""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from resnest_edu.network.bottleneck import Bottleneck
from resnest_edu.provenance import provenance
from resnest_edu.speed.per_split import accelerate
from resnest_edu.speed.timing import Call, interleave

NEEDS_CUDA = False
STAGES = {1: (64, 56), 2: (128, 28), 3: (256, 14), 4: (512, 7)}
"""Width of the block and side of its maps, at 224 pixels."""
FORMATS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
BATCH = 2
ROUNDS = 25


def steps(planes: int, size: int) -> dict[str, Call]:
    """A training step of the same block in every form and format: returns its output and all gradients."""
    torch.manual_seed(0)
    original = Bottleneck(4 * planes, planes)
    images, upstream = torch.randn(2, BATCH, 4 * planes, size, size)
    found: dict[str, Call] = {}
    for memory, layout in FORMATS.items():
        for form in ("reference", "per split"):
            block = copy.deepcopy(original).to(memory_format=layout)
            if form == "per split":
                accelerate(block)
            tensors = (tensor.contiguous(memory_format=layout) for tensor in (images, upstream))
            found[f"{form}, {memory}"] = partial(_step, block, *tensors)
    return found


def _step(block: Bottleneck, images: Tensor, upstream: Tensor) -> list[Tensor]:
    output = block(images.requires_grad_())
    return [output.detach(), *torch.autograd.grad(output, [images, *block.parameters()], upstream)]


def run(device: torch.device) -> dict[str, Any]:
    """Milliseconds of a step: lower quartile, median, upper quartile. On the CPU even where there is a GPU."""
    cpu = torch.device("cpu")
    stages = {}
    for stage, shape in STAGES.items():
        timings = interleave(steps(*shape), cpu, rounds=ROUNDS, repeats=1)
        stages[str(stage)] = {
            name: [round(1000 * seconds, 3) for seconds in (timing.low, timing.median, timing.high)]
            for name, timing in timings.items()
        }
    return {**provenance(cpu), "batch": BATCH, "rounds": ROUNDS, "stages": stages}
