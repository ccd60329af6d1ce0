"""Data sets of one's own, looked at as folders are: what does not fit is said before a network learns from it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from resnest_edu.transfer.annotations import FIELDS, check_map, check_target


class CheckedItems(Dataset[tuple[Tensor, Any]]):
    """Another data set's items, each checked where it is read, so in the process that reads it.

    Args:
        data: items are (image uint8 (3, H, W), truth).
        check: what is to be made of the truth; called with it, with (H, W), and with ``where=`` the item. Without it
            the image alone is looked at.

    Raises:
        ValueError: when an item is read that is not as above; the message names it.
    """

    def __init__(self, data: Any, check: Callable[..., Any] | None = None) -> None:
        self.data, self.check = data, check

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        item, where = self.data[index], f"item {index}"
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise ValueError(
                f"{where} (a {type(item).__name__}) must be a pair of an image and what is to be found in it"
            )
        image, truth = item
        if not isinstance(image, Tensor):
            raise ValueError(f"{where}: image (a {type(image).__name__}) must be a tensor")
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3 or not image.numel():
            raise ValueError(f"{where}: image (={image.dtype}, {tuple(image.shape)}) must be uint8 of shape (3, H, W)")
        return image, self.check(truth, tuple(image.shape[1:]), where=where) if self.check else truth


def _target(truth: Any, size: tuple[int, int], num_classes: int, masks: bool, where: str) -> Any:
    check_target(truth, size, num_classes, where, masks=masks)
    return {name: truth[name] for name in FIELDS if name in truth}  # others, such as "image_id", are of no use here


def _map(truth: Any, size: tuple[int, int], num_classes: int, where: str) -> Any:
    check_map(truth, size, num_classes, where)
    return truth


def checked_detection(data: Any, num_classes: int, *, masks: bool) -> CheckedItems:
    """See :func:`~resnest_edu.transfer.check_target`."""
    return CheckedItems(data, partial(_target, num_classes=num_classes, masks=masks))


def checked_segmentation(data: Any, num_classes: int) -> CheckedItems:
    """See :func:`~resnest_edu.transfer.check_map`."""
    return CheckedItems(data, partial(_map, num_classes=num_classes))
