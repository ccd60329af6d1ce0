"""What a finished run leaves behind: the network, how it was trained, and what its outputs mean."""

import os
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from resnest_edu.arguments import first_line
from resnest_edu.resnest import ResNeSt, create_model
from resnest_edu.training.recipe import Recipe


def save_checkpoint(path: Path, model: nn.Module, recipe: Recipe, classes: tuple[str, ...]) -> None:
    """Write the network's weights with its recipe and class names.

    The file appears whole or not at all: it is written beside ``path`` and then renamed.
    """
    content = {"model": model.state_dict(), "recipe": asdict(recipe), "classes": list(classes)}
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(path: str | Path) -> tuple[ResNeSt, Recipe, tuple[str, ...]]:
    """Read what :func:`save_checkpoint` wrote: the network in evaluation mode, its recipe, its class names.

    Nothing but tensors and plain values is unpickled, so a file from a stranger cannot run code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not such a checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        recipe, classes = Recipe(**content["recipe"]), tuple(content["classes"])
        model = create_model(recipe.model, len(classes))
        model.load_state_dict(content["model"])
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"path (={str(path)!r}) must be a checkpoint written by save_checkpoint: {first_line(error)}"
        ) from error
    return model.eval(), recipe, classes
