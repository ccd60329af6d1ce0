"""What a run leaves on disk: the network, how it was trained, and all that is needed to go on as if nothing had
happened.

Order, chance and rate of a step follow from the seed and the step alone (see :mod:`resnest_edu.training.batches`); a
checkpoint holds these, and the tensors that training has changed.
"""

import hashlib
import io
import json
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar, overload

import torch
from torch import nn

from resnest_edu.arguments import first_line
from resnest_edu.atomic_write import write_atomically
from resnest_edu.network.resnest import ResNeSt
from resnest_edu.network.weights import about, architecture, fill, is_run, read, save, unpack
from resnest_edu.training.recipe import BaseRecipe, Recipe
from resnest_edu.training.task import EpochMetrics

LAST, PREVIOUS, BEST = "checkpoint.pt", "previous.pt", "best.safetensors"
NAMES = (LAST, PREVIOUS, BEST, "best.pt")  # the last as earlier versions wrote it

AnyRecipe = TypeVar("AnyRecipe", bound=BaseRecipe)


def save_checkpoint(
    path: str | Path, model: nn.Module, recipe: BaseRecipe, classes: tuple[str, ...], **state: Any
) -> None:
    """Write the network's weights with its recipe, its class names and whatever ``state`` goes with them.

    The file appears whole or not at all. :func:`resnest_edu.load` reads it.

    Args:
        path: the file. One that ends in ``.safetensors`` is for use (:func:`resnest_edu.save`), and ``state`` its
            score; any other is for going on, and ``state`` may have tensors.
        model: the network.
        recipe: how it was trained.
        classes: what the network's outputs mean.
        state: tensors and plain values.

    Raises:
        OSError: it could not be written; what was at ``path`` is still there.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        save(path, model, classes=classes, recipe=asdict(recipe), score=state)
        return
    what = {"architecture": architecture(model), "recipe": asdict(recipe), "classes": list(classes)}
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict(), **what, **state}, buffer)
    data = buffer.getvalue()
    write_atomically(path, data + hashlib.sha256(data).digest())


@overload
def load_checkpoint(path: str | Path) -> tuple[ResNeSt, Recipe, tuple[str, ...]]: ...
@overload
def load_checkpoint(path: str | Path, recipe_type: type[AnyRecipe]) -> tuple[nn.Module, AnyRecipe, tuple[str, ...]]: ...
def load_checkpoint(path: str | Path, recipe_type: type[BaseRecipe] = Recipe) -> tuple[nn.Module, Any, tuple[str, ...]]:
    """Read a network of a run with its recipe and its class names.

    Args:
        path: a checkpoint, or a file for use.
        recipe_type: the kind of recipe that the run was trained by, such as
            :class:`resnest_edu.transfer.DetectionRecipe`; for these the recipe builds the network.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no such checkpoint, or of a network of one's own, which :func:`resnest_edu.load` reads.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from resnest_edu.training import get_recipe, load_checkpoint, save_checkpoint
        >>> recipe = get_recipe("shapes")
        >>> with TemporaryDirectory() as folder:
        ...     save_checkpoint(f"{folder}/pets.safetensors", recipe.build(2), recipe, ("cat", "dog"))
        ...     model, _, classes = load_checkpoint(f"{folder}/pets.safetensors")
        >>> classes, model.training
        (('cat', 'dog'), False)
    """
    with about(path, "must be a checkpoint written by save_checkpoint"):
        header, state = read(Path(path))
        if "recipe" not in header:
            raise ValueError("it has no recipe; resnest_edu.load(path, model) reads weights alone")
        if header["recipe"]["task"] != recipe_type.task:
            raise ValueError(f"it is of a network for {header['recipe']['task']}, not {recipe_type.task}")
        recipe, classes = recipe_type(**header["recipe"]), tuple(header["classes"])
        built = recipe.build(len(classes))
        as_the_recipe_says = header.get("architecture") in (None, architecture(built))
        return fill(built if as_the_recipe_says else None, header, state).eval(), recipe, classes


class Checkpoints:
    """The checkpoints of one run in one folder.

    ``checkpoint.pt`` is the last, ``previous.pt`` the one before, which is used when the last is damaged.
    ``best.safetensors`` has the weights of the epoch with the highest score, for use, and its score. Where there are
    validation images, they choose the epoch, and the score on the test images is added at the end; otherwise the test
    images do, and their score is no result to report.

    Args:
        folder: where they lie; made if it does not exist.
        recipe: how the run trains.
        classes: what the network's outputs mean.
        seed: of the run.
        minutes: how much time may pass between two; 0 writes one after every step. One is always written at an epoch's
            end.

    Raises:
        ValueError: the folder cannot be written to.
    """

    def __init__(
        self, folder: str | Path, recipe: BaseRecipe, classes: tuple[str, ...], seed: int = 0, *, minutes: float = 5.0
    ) -> None:
        require_writable(folder := Path(folder))
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.recipe, self.classes, self.seed, self.minutes = folder, recipe, classes, seed, minutes
        self.last_good: str | None = None
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        return time.monotonic() - self._written >= 60 * self.minutes

    def save(self, model: nn.Module, state: Mapping[str, Any]) -> None:
        """Write the last checkpoint; what was the last becomes the one before.

        Args:
            model: the network that is trained.
            state: what else is needed to go on, the number of the ``"step"`` among it.

        Raises:
            OSError: it could not be written; the message names the last that was.
        """
        try:
            self._keep_previous()
            save_checkpoint(self.folder / LAST, model, self.recipe, self.classes, seed=self.seed, **state)
        except OSError as error:
            raise OSError(
                f"the checkpoint at step {state['step']} could not be written to {self.folder} ({error.strerror}); "
                f"{self.describe_last()}"
            ) from error
        self.last_good = f"{LAST} at step {state['step']}"
        self._written = time.monotonic()

    def _keep_previous(self) -> None:
        """A second name for the last checkpoint, so that at every moment one of the two is that of a whole file."""
        last, previous = self.folder / LAST, self.folder / PREVIOUS
        if last.exists():
            temporary = self.folder / (PREVIOUS + ".tmp")
            temporary.unlink(missing_ok=True)
            try:
                os.link(last, temporary)
            except OSError:  # a file system without links
                temporary = last
            temporary.replace(previous)

    def save_best(self, model: nn.Module, metrics: EpochMetrics) -> None:
        """Write ``best.safetensors``: the network with its score, and the epoch that it is of."""
        row = metrics.row()  # as metrics.jsonl has it: what is not a number is null
        title = metrics.score_name.removeprefix("test_")
        names = (metrics.score_name, "epoch") if metrics.val is None else (f"val_{title}", "epoch", metrics.score_name)
        score = {name: row[name] for name in names}
        save_checkpoint(self.folder / BEST, model, self.recipe, self.classes, **score)

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """``metrics.jsonl``: one JSON object a line, one line an epoch."""
        lines = "".join(json.dumps(metrics) + "\n" for metrics in history)
        write_atomically(self.folder / "metrics.jsonl", lines.encode())

    def describe_last(self) -> str:
        return f"the last good one is {self.last_good}" if self.last_good else "there is none yet"

    def restore(self) -> dict[str, Any] | None:
        """The last checkpoint that can be read, or None if the folder has none.

        Raises:
            ValueError: it is of a run with another recipe, except that this one may have more epochs, with other
                classes or another seed, or there are checkpoints but none is whole.
        """
        faults = []
        for name in (LAST, PREVIOUS):
            path = self.folder / name
            try:
                content = unpack(path.read_bytes())
                if not is_run(content):
                    raise ValueError("it is damaged, or weights alone")
            except FileNotFoundError:
                continue
            except Exception as error:
                faults.append(f"{name} cannot be read ({first_line(error)})")
                continue
            if "step" not in content:
                raise ValueError(f"{path} must be the checkpoint of a run; it holds weights alone")
            self.last_good = f"{name} at step {content['step']}"
            with self.readable_by_this_version():
                ours = {**asdict(self.recipe), "classes": list(self.classes), "seed": self.seed}
                defaults = {field.name: field.default for field in fields(self.recipe)}  # of what is newer than the run
                theirs = {**defaults, **content["recipe"], "classes": content["classes"], "seed": content["seed"]}
            for field, value in ours.items():
                least = "at least " if field == "epochs" else ""  # of these there may be more
                if theirs.get(field) != value and not (least and value > theirs.get(field, value)):
                    expected = f"{least}{theirs.get(field)!r}"
                    raise ValueError(f"{field} (={value!r}) must be {expected}, as in the run that {self.folder} holds")
            if faults:
                warnings.warn(f"{faults[0]}; going on from the one before, {self.last_good}", stacklevel=2)
            return content
        if faults:
            raise ValueError(f"folder (={str(self.folder)!r}) must hold a whole checkpoint: {'; '.join(faults)}")
        return None

    @contextmanager
    def readable_by_this_version(self) -> Iterator[None]:
        """Let what a whole checkpoint lacks, or has too much of, be one clear error."""
        try:
            yield
        except Exception as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
            raise ValueError(
                f"{self.last_good} in {self.folder} must be as a run of this version left it: {reason}"
            ) from error


def require_writable(folder: Path) -> None:
    """Raise ValueError if nothing can be written to the folder or, where there is none yet, to where it would be."""
    try:
        with tempfile.TemporaryFile(dir=next(one for one in (folder, *folder.absolute().parents) if one.exists())):
            pass
    except OSError as error:
        raise ValueError(f"folder (={str(folder)!r}) must be one that can be written to: {error.strerror}") from error
