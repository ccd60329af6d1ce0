"""Inference: what a trained network makes of images, and how good it is; the commands ``predict`` and ``evaluate``."""

from resnest_edu.inference.evaluate import evaluate_model, open_partition
from resnest_edu.inference.predict import describe, draw, predict_image
from resnest_edu.inference.trained_model import TrainedModel, open_model

__all__ = ["TrainedModel", "describe", "draw", "evaluate_model", "open_model", "open_partition", "predict_image"]
