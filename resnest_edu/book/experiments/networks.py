"""Which networks do the chapters look into that have no time to train one?

Small ResNeSts by the recipe ``shapes``, from three seeds: with attention, and averaging their splits from the start. Of
each seed both start from the same weights. The weights go into :data:`FILE`, in half precision, which is as much as
their figures need: the accuracies are those of what is in the file.

On one core the six take about three minutes.
"""

import hashlib
import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from resnest_edu.arguments import require_one_of
from resnest_edu.book.experiments._shapes import KINDS, build, images_of, trained
from resnest_edu.book.interventions import replaced_attention
from resnest_edu.book.records import origin, read
from resnest_edu.training import RECIPES, evaluate

NEEDS_CUDA = False
SEEDS = range(3)
FILE = "networks.safetensors"
COMMAND = "python -m resnest_edu.experiments networks"


def run(device: torch.device) -> dict[str, Any]:
    """Train them all; returns their accuracies by name and, under ``files``, the file with their weights."""
    tensors, accuracy = {}, {}
    for seed in SEEDS:
        data = images_of(seed)
        for kind in KINDS:
            model = trained(kind, seed, data, device).half().float()
            with replaced_attention(model, "uniform") if kind == "averaging" else nullcontext():
                _, accuracy[f"{kind} {seed}"] = evaluate(model, data[1])
            for name, value in model.state_dict().items():
                stored = value.half() if value.is_floating_point() else value
                tensors[f"{kind} {seed}/{name}"] = stored.cpu().contiguous()
    head = origin(module=__name__, command=COMMAND, device=device)
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in head.items()}
    return {
        "recipe": asdict(RECIPES["shapes"]),
        "accuracy": accuracy,
        "files": {FILE: safetensors.torch.save(tensors, metadata)},
    }


def load(kind: str, seed: int, folder: str | Path) -> nn.Module:
    """A recorded network, in evaluation mode. One that was trained to average has to be told to, here as there: by
    :func:`resnest_edu.book.interventions.replaced_attention`.

    Args:
        kind: ``"attention"`` or ``"averaging"``.
        seed: 0, 1 or 2.
        folder: of the records, ``book/results``.

    Raises:
        FileNotFoundError: the networks have not been recorded.
        ValueError: there is no such network, or the file is not the one that the record beside it names.
    """
    require_one_of("kind", kind, KINDS)
    require_one_of("seed", seed, list(SEEDS))
    path = Path(folder, FILE)
    content = path.read_bytes()
    expected = read(path.with_suffix(".json"))["files"][FILE]
    if hashlib.sha256(content).hexdigest() != expected:
        raise ValueError(f"path (={str(path)!r}) must have the SHA-256 that the record beside it names: {expected}")
    mine = f"{kind} {seed}/"
    tensors = safetensors.torch.load(content)
    model = build(seed)
    model.load_state_dict({name.removeprefix(mine): value for name, value in tensors.items() if name.startswith(mine)})
    return model.eval()
