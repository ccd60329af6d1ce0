"""Is split attention the better backbone, at equal cost?

The paper's claim in miniature: a ResNet-D and a ResNeSt of the same multiply-adds are trained to classify the drawn
shapes, by one recipe; then each becomes the backbone of the same detectors and the same segmenter, trained by one
schedule on drawn scenes. A seed means the same images in the same order for both.

The runs go side by side. What classifying has taught is kept for the runs that build on it while one call lasts; a
later call trains it again.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from resnest_edu.arguments import require_extra
from resnest_edu.book.experiments._transfer import WHAT_COUNTS, finetune, pretrain, settings
from resnest_edu.book.records import summarize as over_seeds
from resnest_edu.book.rivals import PlainBottleneck
from resnest_edu.book.side_by_side import side_by_side
from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.network.bottleneck import Bottleneck
from resnest_edu.network.costs import multiply_adds, parameter_count
from resnest_edu.network.resnest import Backbone, ResNeSt, Variant
from resnest_edu.training import Recipe
from resnest_edu.transfer import DetectionRecipe, SegmentationRecipe, TransferRecipe

NEEDS_CUDA = True
SEEDS = range(3)
SIDE_BY_SIDE = 8
TOLERANCE = 0.01
"""By how much the multiply-adds of the two may differ."""
VARIANT = Variant((2, 2, 2, 2), planes=(32, 64, 128, 256), pool_first=True)
# ResNet-D has the same stem, stages and shortcuts, and plain 3×3 convolutions.
FAMILIES: dict[str, type[Bottleneck]] = {"ResNet-D": PlainBottleneck, "ResNeSt": Bottleneck}
# What a recipe calls its model is not looked at: the networks are those above.
PRETRAINING = Recipe(
    model="resnest26",
    image_size=64,
    epochs=12,
    batch_size=128,
    base_rate=0.8,
    warmup_epochs=1,
    weight_decay=5e-4,
    shift=4,
)
SCENES: dict[str, Any] = {"image_size": 128, "batch_size": 16, "train_scenes": 6000, "test_scenes": 1000}
STEPS: dict[str, Any] = {
    "epochs": 6,
    "optimizer": "adamw",
    "base_rate": 0.03,
    "warmup_epochs": 0.5,
    "weight_decay": 0.01,
}
BOXES: dict[str, Any] = {
    "model": "resnest26",
    **STEPS,
    "pyramid_channels": 128,
    "anchor_scale": 5.0,
    "head_width": 512,
    "proposals": 300,
    "samples": 128,
}
HEADS: dict[str, TransferRecipe] = {
    "Faster R-CNN": DetectionRecipe(**SCENES, **BOXES, detector="faster"),
    "Cascade R-CNN": DetectionRecipe(**SCENES, **BOXES, detector="cascade"),
    "Mask R-CNN": DetectionRecipe(**SCENES, **BOXES, detector="mask"),
    "DeepLabV3": SegmentationRecipe(**SCENES, **STEPS, model="resnest26", atrous_rates=(2, 4, 6)),
}
PRETRAINED = "classification"
CLASSIFIERS = tuple(f"{family}, {PRETRAINED}, seed {seed}" for seed in SEEDS for family in FAMILIES)
PIECES = CLASSIFIERS + tuple(
    f"{family}, {head}, seed {seed}" for seed in SEEDS for head in HEADS for family in FAMILIES
)


def run_pieces(
    names: Iterable[str], device: torch.device, data: Path | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train once for each name; side by side on CUDA, one after another on the CPU.

    Raises:
        ValueError: the multiply-adds are not equal enough.
        ImportError: the metrics' libraries are not installed.
    """
    require_equal_cost()
    require_extra("torchmetrics", "pycocotools")
    with tempfile.TemporaryDirectory() as folder:
        run = partial(run_piece, folder=Path(folder), device=device)
        # The classifiers first: whatever builds on one waits for it.
        for _, phase in groupby(names, key=CLASSIFIERS.__contains__):
            yield from side_by_side(run, phase, processes=SIDE_BY_SIDE if device.type == "cuda" else 1)


def costs() -> dict[str, dict[str, int]]:
    """Parameters of each classifier, and multiply-adds for one image of a scene's size."""
    found = {}
    for name, block in FAMILIES.items():
        with torch.device("meta"):
            model = ResNeSt(VARIANT, len(SHAPE_CLASSES), block=block)
        size = SCENES["image_size"]
        found[name] = {"parameters": parameter_count(model), "multiply_adds": multiply_adds(model, size)}
    return found


def require_equal_cost() -> None:
    """Raise ValueError unless both cost the same multiply-adds, within the tolerance."""
    first, second = (cost["multiply_adds"] for cost in costs().values())
    if abs(first - second) > TOLERANCE * first:
        raise ValueError(f"multiply-adds (={first:,} and {second:,}) must be equal within {100 * TOLERANCE:g} %")


def run_piece(name: str, *, folder: Path, device: torch.device) -> dict[str, Any]:
    """Train the classifier, or a head on the backbone that the classifier has become; returns plain values."""
    family, task, seed = name.split(", ")
    number = int(seed.removeprefix("seed "))
    file = folder / f"{family}-{number}.pt"
    block, figures = FAMILIES[family], {}
    if task == PRETRAINED or not file.exists():
        figures = pretrain(partial(ResNeSt, VARIANT, block=block), PRETRAINING, number, file, device)
    if task == PRETRAINED:
        return figures
    return finetune(partial(Backbone, VARIANT, block=block), HEADS[task], number, file, device)


def summarize(pieces: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """For each head and family the metrics of the seeds, their mean and deviation; and the seeds' differences between
    the families."""
    heads: dict[str, Any] = {}
    for task in (PRETRAINED, *HEADS):
        metrics = [name for name in pieces[f"ResNeSt, {task}, seed 0"] if name.startswith(WHAT_COUNTS)]
        heads[task] = {}
        for metric in metrics:
            values = {
                family: [pieces[f"{family}, {task}, seed {seed}"][metric] for seed in SEEDS] for family in FAMILIES
            }
            gains = [ours - theirs for ours, theirs in zip(values["ResNeSt"], values["ResNet-D"], strict=True)]
            heads[task][metric] = {
                family: {"seeds": found, **over_seeds(found)} for family, found in (values | {"gain": gains}).items()
            }
    return {
        "seeds": list(SEEDS),
        "costs": costs(),
        "pretraining": settings(PRETRAINING),
        "recipes": {name: settings(recipe) for name, recipe in HEADS.items()},
        "heads": heads,
    }
