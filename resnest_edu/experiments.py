"""``python -m resnest_edu.experiments``: run the book's recorded experiments; what is recorded already is skipped.

An experiment is a function of the device, named in the table at the end. It returns its figures as plain values: the
seeds, every seed's results, and their summary.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from resnest_edu.data.shapes import SHAPE_CLASSES, shapes_tensors
from resnest_edu.resnest import create_model
from resnest_edu.results import fingerprint, read, record, summarize
from resnest_edu.training import RECIPES, train
from resnest_edu.training.loop import TensorImages, default_device


@dataclass(frozen=True)
class Experiment:
    """Something to record.

    Attributes:
        run: makes the figures on a device.
        needs_cuda: whether a CPU will not do.
    """

    run: Callable[[torch.device], dict[str, Any]]
    needs_cuda: bool = False


EXPERIMENTS: dict[str, Experiment] = {}
