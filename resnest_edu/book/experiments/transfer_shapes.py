"""What does a detector gain by stages, a segmenter by resolution, and both by a backbone that has learnt to classify?

The recipes of the chapters, from three seeds, and each beside a variation of it: small enough for a CPU, where two runs
go side by side with one thread each.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from resnest_edu.arguments import require_extra
from resnest_edu.book.experiments._transfer import WHAT_COUNTS, finetune, pretrain, settings
from resnest_edu.book.records import summarize as over_seeds
from resnest_edu.book.side_by_side import side_by_side
from resnest_edu.network.resnest import VARIANTS, Backbone, ResNeSt
from resnest_edu.training import get_recipe
from resnest_edu.transfer import TRANSFER_RECIPES, SegmentationRecipe, TransferRecipe

NEEDS_CUDA = False
SEEDS = range(3)
SIDE_BY_SIDE = 2
PRETRAINING = get_recipe("shapes")
DETECT, SEGMENT = TRANSFER_RECIPES["detect-shapes"], TRANSFER_RECIPES["segment-shapes"]
assert isinstance(SEGMENT, SegmentationRecipe)
RUNS: dict[str, tuple[TransferRecipe, bool]] = {
    "Mask R-CNN": (DETECT, True),
    "Mask R-CNN from scratch": (DETECT, False),
    "Cascade Mask R-CNN": (replace(DETECT, detector="cascade_mask"), True),  # type: ignore[call-arg]
    "DeepLabV3, output stride 8": (SEGMENT, True),
    "DeepLabV3, output stride 8, from scratch": (SEGMENT, False),
    "DeepLabV3, output stride 16": (replace(SEGMENT, output_stride=16), True),
}
"""What is trained: by which recipe, and whether its backbone has learnt to classify."""
PIECES = tuple(f"{name}; seed {seed}" for seed in SEEDS for name in RUNS)


def run_pieces(
    names: Iterable[str], device: torch.device, data: Path | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train once for each name.

    Raises:
        ImportError: the metrics' libraries are not installed.
    """
    require_extra("torchmetrics", "pycocotools")
    with tempfile.TemporaryDirectory() as folder:
        run = partial(run_piece, folder=Path(folder), device=device)
        yield from side_by_side(run, names, processes=SIDE_BY_SIDE)


def run_piece(name: str, *, folder: Path, device: torch.device) -> dict[str, Any]:
    """Train the classifier, unless another run of the seed has, and then what is built on it; returns plain values."""
    run, seed = name.split("; seed ")
    recipe, pretrained = RUNS[run]
    variant = VARIANTS[recipe.model]
    file = folder / f"{seed}.pt" if pretrained else None
    if file is not None and not file.exists():
        pretrain(partial(ResNeSt, variant), PRETRAINING, int(seed), file, device)
    return finetune(partial(Backbone, variant), recipe, int(seed), file, device)


def summarize(pieces: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """For each run its recipe, and of every metric the seeds' values, their mean and deviation."""
    runs = {}
    for name, (recipe, pretrained) in RUNS.items():
        found = [pieces[f"{name}; seed {seed}"] for seed in SEEDS]
        metrics = [metric for metric in found[0] if metric.startswith(WHAT_COUNTS)]
        runs[name] = {
            "recipe": settings(recipe),
            "pretrained": pretrained,
            "metrics": {
                metric: {"seeds": [one[metric] for one in found], **over_seeds([one[metric] for one in found])}
                for metric in metrics
            },
        }
    return {"seeds": list(SEEDS), "pretraining": settings(PRETRAINING), "runs": runs}
