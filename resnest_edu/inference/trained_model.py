"""A trained network with all that is needed to use it: how images come to it, and what its outputs mean."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnest_edu import PUBLISHED, create_model, fetch, load, read_header
from resnest_edu.arguments import first_line, require_one_of
from resnest_edu.training.loop import default_device
from resnest_edu.training.recipe import BaseRecipe, Recipe
from resnest_edu.training.recipes import RECIPES
from resnest_edu.training.run_state import NAMES, load_checkpoint
from resnest_edu.training.task import half_precision
from resnest_edu.transfer.transfer_recipes import DetectionRecipe, SegmentationRecipe

KINDS: dict[Any, type[BaseRecipe]] = {kind.task: kind for kind in (Recipe, DetectionRecipe, SegmentationRecipe)}


@dataclass(frozen=True)
class TrainedModel:
    """A network in evaluation mode, on its device.

    Attributes:
        network: the classifier, detector or segmenter.
        recipe: how it was trained: its task, and how large images come to it.
        classes: what its outputs mean; of a segmenter the first is the background, of a detector the first has label 1.
    """

    network: nn.Module
    recipe: BaseRecipe
    classes: tuple[str, ...]

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def half_precision(self) -> AbstractContextManager:
        """What to compute in, for the precision of its training."""
        return half_precision(self.device, self.recipe.precision)


def open_model(
    source: str | Path, model: str | None = None, *, device: torch.device | str | None = None
) -> TrainedModel:
    """Open a trained network.

    Args:
        source: the folder of a run, of which the best network is taken; a file that training has written; a file of
            published weights; or the name of a model with published weights, which are downloaded if need be.
        model: for a file of published weights that bears another name, that of its model.
        device: where to compute; as in training if None.

    Raises:
        ValueError: there is no such model or device, or the file is damaged or does not say what it holds.
        OSError: the published weights cannot be downloaded.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from resnest_edu.inference import open_model
        >>> from resnest_edu.training import get_recipe, save_checkpoint
        >>> recipe = get_recipe("shapes")
        >>> with TemporaryDirectory() as run:
        ...     save_checkpoint(f"{run}/best.safetensors", recipe.build(2), recipe, ("cat", "dog"))
        ...     model = open_model(run, device="cpu")
        >>> model.classes, model.recipe.image_size
        (('cat', 'dog'), 32)
    """
    try:
        place = torch.empty(1, device=device or default_device()).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device (={device!r}) must be one of this machine: {first_line(error)}") from error
    path, known = Path(source), f"a run's folder, a file of weights or one of {', '.join(PUBLISHED)}"
    if path.is_dir():
        path = next((path / one for one in sorted(NAMES) if (path / one).is_file()), path / "best.safetensors")
    elif not path.exists() and str(source) in PUBLISHED:
        model, path = str(source), fetch(str(source))
    if not path.exists():
        raise ValueError(f"model (={str(source)!r}) must be {known}")
    name = model or next((one for one, published in PUBLISHED.items() if published.file == path.name), None)
    if name is not None:
        require_one_of("model", name, PUBLISHED)
        numbers: dict[str, Any] = {"model": name, "image_size": PUBLISHED[name].image_size, "batch_size": 32}
        recipe: BaseRecipe = replace(RECIPES["imagenet-resnest50"], **numbers)
        network, classes = load(path, create_model(name)), PUBLISHED[name].classes
    else:
        task = (read_header(path).get("recipe") or {}).get("task")
        if task not in KINDS:
            raise ValueError(
                f"model (={str(source)!r}) must say its recipe; for published weights give the model (--model)"
            )
        network, recipe, classes = load_checkpoint(path, KINDS[task])
    placed: Any = network.eval().to(place).to(memory_format=torch.channels_last)  # as in training
    return TrainedModel(placed, recipe, classes)
