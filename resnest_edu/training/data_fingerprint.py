"""Whether the images of a run are those it began with."""

import hashlib
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch.utils.data import Dataset, Subset

from resnest_edu.training.batches import TensorImages


@runtime_checkable
class Identified(Protocol):
    """A data set that says itself what makes it this one."""

    def identity(self) -> str:
        """What differs when its images or annotations do; not what chance does to them in training."""
        ...


def digest(data: Dataset) -> str:
    """A hash that changes when the images, their labels or their order do.

    Of images in memory every byte counts; of those in a folder the names and labels, since reading all would take too
    long; of a data set with an ``identity()`` what that says; of anything else the number of its images alone.
    """
    found = hashlib.sha256()
    _add(found, data)
    return found.hexdigest()[:16]


def _add(found: Any, data: Dataset) -> None:
    found.update(f"{len(data)}".encode())  # type: ignore[arg-type]
    if isinstance(data, TensorImages):
        for tensor in (data.images, data.labels):
            found.update(tensor.cpu().contiguous().numpy().data)
    elif isinstance(data, Identified):
        found.update(data.identity().encode())
    elif isinstance(data, Subset):
        found.update(repr(list(data.indices)).encode())
        _add(found, data.dataset)
    else:
        from torchvision.datasets import DatasetFolder  # here, since to import torchvision takes seconds

        if isinstance(data, DatasetFolder):
            names = [(str(Path(path).relative_to(data.root)), label) for path, label in data.samples]
            found.update(repr(names).encode())
