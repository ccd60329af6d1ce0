"""What does split attention take in each layout, and is it the order of the channels or the number of layers?

Three ways to compute one function: the loops of the cardinality-major layout, the five layers of the radix-major one,
and five layers whose channels stay in the cardinality-major order. Forward, in evaluation mode, on one thread, in
turns: on one small map, where there is little to compute, and on eight larger ones.
"""

from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from resnest_edu import RadixMajorSplitAttention, to_cardinality_major
from resnest_edu.network.layouts import cardinality_major_order
from resnest_edu.provenance import provenance
from resnest_edu.speed.timing import interleave

NEEDS_CUDA = False
THREADS = 1
CHANNELS = 64
SETTINGS = [(2, 1), (2, 2), (4, 4)]
# shape of the input, and how many calls make a round
CASES = {"one map of 7×7": ((1, CHANNELS, 7, 7), 20), "eight maps of 28×28": ((8, CHANNELS, 28, 28), 2)}
ROUNDS = 31


class FiveLayers(RadixMajorSplitAttention):
    """Cardinality-major in five layers, for R > 1: the splits lie inside the groups, so nothing is transposed."""

    def forward(self, x: Tensor) -> Tensor:
        sizes = {"k": self.cardinality, "r": self.radix}
        pattern = "b (k r c) h w -> b k r c h w"
        splits = rearrange(self.bn0(self.conv(x)).relu(), pattern, **sizes)
        context = splits.sum(dim=2).flatten(1, 2).mean(dim=(2, 3), keepdim=True)  # b (k c) 1 1
        logits = self.fc2(self.bn1(self.fc1(context)).relu())
        attention = rearrange(logits, pattern, **sizes).softmax(dim=2)
        return (attention * splits).sum(dim=2).flatten(1, 2)


def five_layers(module: RadixMajorSplitAttention) -> FiveLayers:
    """The same function of the same input in the order ``(k r c)``."""
    state = module.state_dict()
    for name, tensor in state.items():
        if name.startswith(("conv.", "bn0.")) and tensor.ndim:
            state[name] = cardinality_major_order(tensor, module.radix, module.cardinality, dim=0)
    other = FiveLayers(**module.arguments).to(tensor.dtype).train(module.training)
    other.load_state_dict(state)
    return other


def run(device: torch.device) -> dict[str, Any]:
    """Milliseconds of a call, with the quartiles of the rounds. Runs on the CPU even where there is a GPU."""
    cpu = torch.device("cpu")
    cases: dict[str, Any] = {}
    for case, (shape, repeats) in CASES.items():
        image = torch.randn(shape)
        for radix, cardinality in SETTINGS:
            module = RadixMajorSplitAttention(CHANNELS, CHANNELS, radix=radix, cardinality=cardinality).eval()
            modules = {
                "cardinality-major, loops": to_cardinality_major(module),
                "cardinality-major, five layers": five_layers(module),
                "radix-major, five layers": module,
            }
            calls = {name: partial(each, image) for name, each in modules.items()}
            with torch.inference_mode():
                timings = interleave(calls, cpu, rounds=ROUNDS, repeats=repeats)
            cases.setdefault(case, {})[f"R = {radix}, K = {cardinality}"] = {
                name: {key: float(f"{1e3 * value:.4g}") for key, value in quartiles.items()}
                for name, timing in timings.items()
                for quartiles in [{"low": timing.low, "median": timing.median, "high": timing.high}]
            }
    return {**provenance(cpu), "rounds": ROUNDS, "milliseconds": cases}
