"""The networks of the recipe ``shapes``, with attention and without: what several experiments begin with."""

from contextlib import nullcontext

import torch
from torch import nn

from resnest_edu.book.interventions import replaced_attention
from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.network.resnest import create_model
from resnest_edu.training import RECIPES, TensorImages, shapes_data, train

KINDS = "attention", "averaging"
"""Trained as usual, and trained with 1/R for every split: the second has the layers of an attention, never used."""


def build(seed: int) -> nn.Module:
    """The recipe's network with the initial weights of ``seed``, the same for both kinds."""
    torch.manual_seed(seed)
    return create_model(RECIPES["shapes"].model, len(SHAPE_CLASSES))


def trained(kind: str, seed: int, data: tuple[TensorImages, TensorImages], device: torch.device) -> nn.Module:
    """Train a network of one of the :data:`KINDS` in the order of ``seed``; returned in evaluation mode.

    One that averages does so only while :func:`replaced_attention` lasts, so whoever uses it has to see to that.
    """
    model = build(seed)
    with replaced_attention(model, "uniform") if kind == "averaging" else nullcontext():
        train(model, *data, RECIPES["shapes"], seed=seed, device=device, progress=False)
    return model.eval()


def images_of(seed: int) -> tuple[TensorImages, TensorImages]:
    """The recipe's images to train and to test on; the former are other ones for every seed."""
    return shapes_data(RECIPES["shapes"], seed)
