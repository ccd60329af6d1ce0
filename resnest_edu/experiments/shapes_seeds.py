"""How far does the result of the recipe ``shapes`` depend on chance?

A seed decides the weights, the data order, the augmentation and the shapes themselves.
"""

from dataclasses import asdict
from typing import Any

import torch

from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.results import summarize
from resnest_edu.training import RECIPES, shapes_data, train

NEEDS_CUDA = False
SEEDS = range(5)


def run(device: torch.device) -> dict[str, Any]:
    """Train from every seed; returns the recipe, each run's metrics by epoch, and the summary."""
    recipe, runs = RECIPES["shapes"], []
    for seed in SEEDS:
        train_data, test_data = shapes_data(recipe, seed)
        torch.manual_seed(seed)
        model = recipe.build(len(SHAPE_CLASSES))
        history = train(model, train_data, test_data, recipe, seed=seed, device=device)
        runs.append([asdict(metrics) for metrics in history])
    return {
        "recipe": asdict(recipe),
        "seeds": list(SEEDS),
        "runs": runs,
        "test_accuracy": summarize([history[-1]["test_accuracy"] for history in runs]),
        "seconds": summarize([sum(epoch["seconds"] for epoch in history) for history in runs]),
    }
