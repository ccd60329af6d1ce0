"""What is a network's attention worth, and is it worth what it would take to do without?

From every seed the recipe ``shapes`` trains two networks that start from the same weights: one with its attention, one
that averages its splits from the start. Of the first, the attention is then taken away in several ways.

On two CPU cores a seed takes two trainings, about half a minute.
"""

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.resnest import create_model
from resnest_edu.results import summarize
from resnest_edu.split_attention import record_attention
from resnest_edu.training import RECIPES, Recipe, TensorImages, evaluate, shapes_data, train
from resnest_edu.training.attention import distance_from_uniform, replaced_attention, settle
from resnest_edu.training.augment import normalize

NEEDS_CUDA = False
SEEDS = range(5)
AVERAGED = 1000


def run(device: torch.device) -> dict[str, Any]:
    """Train from every seed; returns the recipe, each seed's accuracies and distances, and their summaries."""
    recipe = RECIPES["shapes"]
    runs = [run_seed(seed, recipe, device) for seed in SEEDS]
    accuracies = [run["accuracy"] for run in runs]
    return {
        "recipe": asdict(recipe),
        "seeds": list(SEEDS),
        "averaged_over": AVERAGED,
        "runs": runs,
        "accuracy": {name: summarize([one[name] for one in accuracies]) for name in accuracies[0]},
        "loss_of_accuracy": {
            name: summarize([one["attention"] - one[name] for one in accuracies])
            for name in accuracies[0]
            if name != "attention"
        },
    }


def run_seed(seed: int, recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """Accuracies on the test images, as fractions, and each layer's mean distance from uniform."""
    train_data, test_data = shapes_data(recipe, seed)
    some = normalize(train_data.images[:AVERAGED]).to(device)
    fresh = settle(build(recipe, seed).to(device), some)
    model = build(recipe, seed)
    train(model, train_data, test_data, recipe, seed=seed, device=device)
    model.eval()
    accuracy = {"attention": evaluate(model, test_data)[1]}
    for how in ("average", "uniform", "shuffled", "swapped"):
        generator = torch.Generator().manual_seed(seed)
        with replaced_attention(model, how, images=some, generator=generator):
            accuracy[how] = evaluate(model, test_data)[1]
    accuracy["shuffled within a class"] = within_classes(model, test_data, seed)
    never = build(recipe, seed)
    with replaced_attention(never, "uniform"):
        train(never, train_data, test_data, recipe, seed=seed, device=device)
        accuracy["never"] = evaluate(never, test_data)[1]
    return {"accuracy": accuracy, "distance": {"fresh": distances(fresh, some), "trained": distances(model, some)}}


def build(recipe: Recipe, seed: int) -> nn.Module:
    """The recipe's network with the weights of ``seed``."""
    torch.manual_seed(seed)
    return create_model(recipe.model, len(SHAPE_CLASSES))


def distances(model: nn.Module, images: Tensor) -> dict[str, float]:
    """Each layer's mean distance from uniform."""
    recorded = record_attention(model, images)
    return {name: distance_from_uniform(attention).mean().item() for name, attention in recorded.items()}


def within_classes(model: nn.Module, data: TensorImages, seed: int) -> float:
    """The accuracy where each image gets the attention of another image of its own class."""
    generator = torch.Generator().manual_seed(seed)
    correct = 0.0
    with replaced_attention(model, "shuffled", generator=generator):
        for label in data.labels.unique():
            chosen = data.labels == label
            # One batch, since a class of a size of 1 modulo the batch would leave an image alone.
            alike = TensorImages(data.images[chosen], data.labels[chosen])
            correct += evaluate(model, alike, batch_size=len(alike))[1] * len(alike)
    return correct / len(data)
