"""Training: recipes, the learning-rate schedule, one loop for every network in the book, and its checkpoints."""

from resnest_edu.training.augmentation import test_transform
from resnest_edu.training.average import MovingAverage
from resnest_edu.training.batches import TensorImages, folder_data, image_splits, shapes_data
from resnest_edu.training.classification import Classification, ClassificationMetrics
from resnest_edu.training.evaluation import evaluate, predict
from resnest_edu.training.loop import train
from resnest_edu.training.recipe import BaseRecipe, Recipe, parameter_groups
from resnest_edu.training.recipes import RECIPES, get_recipe
from resnest_edu.training.run_state import Checkpoints, load_checkpoint, save_checkpoint
from resnest_edu.training.task import EpochMetrics, Task

__all__ = [
    "RECIPES",
    "BaseRecipe",
    "Checkpoints",
    "Classification",
    "ClassificationMetrics",
    "EpochMetrics",
    "MovingAverage",
    "Recipe",
    "Task",
    "TensorImages",
    "evaluate",
    "folder_data",
    "get_recipe",
    "image_splits",
    "load_checkpoint",
    "parameter_groups",
    "predict",
    "save_checkpoint",
    "shapes_data",
    "test_transform",
    "train",
]
