"""What to run: our networks and their peers, and one step of each.

Nobody is handicapped: every network gets the same images, memory format, precision, loss and optimizer. On CUDA the
precision is that of bfloat16 autocast, on the CPU float32.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnest_edu.arguments import require_one_of
from resnest_edu.network.resnest import VARIANTS, create_model, resnest11_small, resnest50
from resnest_edu.speed.per_split import accelerate
from resnest_edu.speed.timing import Call

TASKS = ("training", "inference")
EXECUTIONS = {"eager": None, "compiled": "default", "graphs": "reduce-overhead"}
"""How a network is executed, and the mode of ``torch.compile`` for it: "graphs" are CUDA graphs of compiled code."""


def builder(name: str) -> Callable[[], nn.Module]:
    """What builds the network of this name, with fresh weights: a row of the tables; ``MODEL``, one of ours;
    ``accelerated/MODEL``, the same one split at a time; ``timm/MODEL`` or ``torchvision/MODEL``.

    Raises:
        ValueError: there is none.
        ModuleNotFoundError: timm is not installed.
    """
    if name in NETWORKS | SMALL_NETWORKS:
        return (NETWORKS | SMALL_NETWORKS)[name]
    source, slash, model = name.rpartition("/")
    if source == "timm":
        import timm  # only the book's environment has it

        if timm.is_model(model):
            return partial(timm.create_model, model)
    elif source == "torchvision":
        from torchvision import models  # here, since to import it takes seconds

        if model in models.list_models(models):
            return models.get_model_builder(model)
    elif name == model or source == "accelerated":
        require_one_of("model", model, VARIANTS)
        ours = partial(create_model, model)
        return (lambda: accelerate(ours())) if slash else ours
    raise ValueError(f"model (={name!r}) must be a model of this package, of timm/ or of torchvision/")


CHOSEN = "ours, chosen by measurement"
OURS, PEER = "ours, accelerated", "timm resnest50d"
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    OURS: lambda: accelerate(resnest50()),
    PEER: lambda: builder("timm/resnest50d")(),
    "ours": resnest50,
    "timm resnet50d": lambda: builder("timm/resnet50d")(),
    "torchvision resnet50": lambda: builder("torchvision/resnet50")(),
    CHOSEN: resnest50,
}
"""What the book compares, the most important first, for where time runs out the last are left out."""

SMALL_NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ours, small": resnest11_small,
    "ours, small, accelerated": lambda: accelerate(resnest11_small()),
}


@dataclass(frozen=True)
class Case:
    """What to run: a network, by its name for :func:`builder`, on images of ``size`` · ``size`` pixels, ``batch`` a
    step."""

    network: str
    task: str
    execution: str
    batch: int
    size: int
    channels_last: bool = True

    def __post_init__(self) -> None:
        for name, allowed in (("task", TASKS), ("execution", EXECUTIONS)):
            require_one_of(name, getattr(self, name), allowed)
        for name, least in (("batch", 2), ("size", 32)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} (={getattr(self, name)}) must be at least {least}")

    def __str__(self) -> str:
        return f"{self.network}, {self.task}, {self.execution}" + (", channels first" if not self.channels_last else "")


def all_cases(
    tasks: Iterable[str], executions: Iterable[str], batch: int, size: int, networks: Iterable[str] = NETWORKS
) -> list[Case]:
    """Every network, in every task, executed in every way."""
    ways = itertools.product(tasks, executions, networks)
    return [Case(network, task, execution, batch, size) for task, execution, network in ways]


def build(case: Case, device: torch.device) -> tuple[nn.Module, Tensor]:
    """The network in the mode of its task, and a batch of images, in one memory format."""
    torch.manual_seed(0)
    layout = torch.channels_last if case.channels_last else torch.contiguous_format
    images = torch.randn(case.batch, 3, case.size, case.size, device=device).contiguous(memory_format=layout)
    model = builder(case.network)()
    model.to(device, memory_format=layout).train(case.task == "training")  # type: ignore[call-overload]
    if case.network == CHOSEN:
        with network_precision(device):
            accelerate(model, images)
    return model, images


def network_precision(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def make_step(model: nn.Module, images: Tensor, execution: str) -> Call:
    """A training step of a network in training mode, an inference step of one in evaluation mode."""
    mode, device = EXECUTIONS[execution], images.device
    # fullgraph: whatever could not be compiled is an error, not silently slow
    network = torch.compile(model, mode=mode, fullgraph=True, dynamic=False) if mode else model

    def forward() -> Tensor:
        if execution == "graphs":
            torch.compiler.cudagraph_mark_step_begin()  # the outputs of the step before are no longer needed
        with network_precision(device):
            return network(images)

    if not model.training:
        return torch.no_grad()(forward)
    labels = torch.arange(len(images), device=device) % 10
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)

    def step() -> None:
        F.cross_entropy(forward().float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()  # here, not before the next step: others run in between

    return step
