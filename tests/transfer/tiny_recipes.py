"""Recipes that take a second or two."""

from typing import Any

from resnest_edu.transfer import DetectionRecipe, SegmentationRecipe, TransferRecipe

COMMON: dict[str, Any] = {"model": "resnest11_small", "image_size": 64, "epochs": 2, "batch_size": 8, "base_rate": 0.5}
COMMON |= {"warmup_epochs": 0.5, "head_width": 16, "train_scenes": 16, "test_scenes": 6}
DETECTION = DetectionRecipe(pyramid_channels=16, anchor_scale=4.0, proposals=20, samples=8, **COMMON)
SEGMENTATION = SegmentationRecipe(output_stride=16, atrous_rates=(1, 2), **COMMON)
RECIPES: dict[str, TransferRecipe] = {"detection": DETECTION, "segmentation": SEGMENTATION}
