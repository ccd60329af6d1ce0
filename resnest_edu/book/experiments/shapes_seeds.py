"""How far does the result of the recipe ``shapes`` depend on chance, and what is still mistaken for what?

A seed decides the weights, the data order, the augmentation and the shapes themselves. A run takes about half a minute
of one core.
"""

import time
from typing import Any

import torch

from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.training import RECIPES, predict, shapes_data, train

NEEDS_CUDA = False
SEEDS = range(10)


def run_seed(seed: int) -> dict[str, Any]:
    """Test accuracy after every epoch, seconds of processor time that training took (its tests included), and how many
    test images of each class (rows) were taken for each class (columns)."""
    recipe, device = RECIPES["shapes"], torch.device("cpu")
    train_data, test_data = shapes_data(recipe, seed)
    torch.manual_seed(seed)
    model = recipe.build(len(SHAPE_CLASSES))
    start = time.process_time()
    history = train(model, train_data, test_data, recipe, seed=seed, device=device, progress=False)
    seconds = time.process_time() - start
    predicted = predict(model, test_data.images).argmax(1)
    taken = torch.zeros(len(SHAPE_CLASSES), len(SHAPE_CLASSES), dtype=torch.long)
    taken.index_put_((test_data.labels, predicted), torch.tensor(1), accumulate=True)
    return {
        "test_accuracy": [epoch.score for epoch in history],
        "processor_seconds": round(seconds, 1),
        "taken_for": taken.tolist(),
    }
