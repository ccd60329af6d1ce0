"""Training: recipes, the learning-rate schedule, and one loop for every network in the book."""

from resnest_edu.training.checkpoint import load_checkpoint, save_checkpoint
from resnest_edu.training.data import TensorImages, folder_data, shapes_data
from resnest_edu.training.loop import EpochMetrics, evaluate, predict, train
from resnest_edu.training.recipe import RECIPES, Recipe, get_recipe

__all__ = [
    "RECIPES",
    "EpochMetrics",
    "Recipe",
    "TensorImages",
    "evaluate",
    "folder_data",
    "get_recipe",
    "load_checkpoint",
    "predict",
    "save_checkpoint",
    "shapes_data",
    "train",
]
