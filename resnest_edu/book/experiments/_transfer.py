"""From a classifier to a detector or segmenter: what the pieces of the experiments on backbones are made of."""

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.network.resnest import Backbone, ResNeSt
from resnest_edu.training import Recipe, shapes_data, train
from resnest_edu.transfer import Detection, DetectionRecipe, Segmentation, StageBackbone, TransferRecipe, scene_splits

WHAT_COUNTS = ("test_accuracy", "box_map", "mask_map", "mean_iou", "pixel_accuracy")
"""How the names of those figures begin that are to be compared."""


def pretrain(
    build: Callable[[int], ResNeSt], recipe: Recipe, seed: int, file: Path, device: torch.device
) -> dict[str, Any]:
    """Train a classifier of the drawn shapes and keep its weights, but for the head's, in ``file``."""
    torch.manual_seed(seed)
    model = build(len(SHAPE_CLASSES))
    history = train(model, *shapes_data(recipe, seed), recipe, seed=seed, device=device, progress=False)
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    torch.save({key: value for key, value in model.state_dict().items() if not key.startswith("fc.")}, temporary)
    temporary.replace(file)
    return figures_of(history)


def finetune(
    build: Callable[..., Backbone], recipe: TransferRecipe, seed: int, file: Path | None, device: torch.device
) -> dict[str, Any]:
    """Train the recipe's head on the backbone, and the backbone with it; where there is no file, from scratch."""
    torch.manual_seed(seed)
    splits = scene_splits(recipe, seed)
    body = build(output_stride=getattr(recipe, "output_stride", 32))
    if file is not None:
        body.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    model = recipe.build_on(StageBackbone(body), len(splits.classes))
    task = (Detection if isinstance(recipe, DetectionRecipe) else Segmentation)(recipe)  # type: ignore[arg-type]
    history = train(model, splits.train, splits.test, recipe, task=task, seed=seed, device=device, progress=False)
    return figures_of(history)


def figures_of(history: list[Any]) -> dict[str, Any]:
    """The last epoch's metrics, the seconds of all, and every epoch's score."""
    last = {key: value for key, value in asdict(history[-1]).items() if value is not None}
    return {**last, "seconds": sum(one.seconds for one in history), "scores": [one.score for one in history]}


def settings(recipe: Any) -> dict[str, Any]:
    """The recipe's numbers, without the model's name."""
    return {key: value for key, value in asdict(recipe).items() if key != "model"}
