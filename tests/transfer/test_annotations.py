import re
from typing import Any

import pytest
import torch
from torch import Tensor

from resnest_edu.transfer import check_map, check_target, collate_segmentation, without_crowd
from tests.refused import assert_refused


def target(**changes: Tensor) -> dict[str, Tensor]:
    whole = {
        "boxes": torch.tensor([[0.0, 0.0, 20.0, 10.0], [2.5, 3.0, 4.0, 9.0]]),
        "labels": torch.tensor([1, 3]),
        "masks": torch.ones(2, 10, 20, dtype=torch.uint8),
        "crowd": torch.tensor([False, True]),
    }
    return whole | changes


def test_a_target_that_fills_its_image_and_an_empty_one_pass() -> None:
    check_target(target(), (10, 20), 3, "a.png")
    check_target({name: field[:0] for name, field in target().items()}, (10, 20), 3, "a.png")


def test_a_faulty_target_is_refused_with_its_image_and_field() -> None:
    fine, inside = [2.5, 3.0, 4.0, 9.0], "must have an area inside 20 x 10"
    nan, inf = torch.nan, torch.inf
    boxes = [
        [5, 3, 5, 9],
        [5, 9, 6, 3],
        [-1, 3, 6, 9],
        [1, -3, 6, 9],
        [1, 3, 20.5, 9],
        [1, 3, 6, 11],
        [1, 3, nan, 9],
        [1, 3, 6, inf],
    ]
    rows: list[tuple[dict[str, Any], str]] = [
        ({"boxes": torch.tensor([fine, box])}, f"boxes (={[float(side) for side in box]}) {inside}") for box in boxes
    ]
    rows += [
        ({"boxes": torch.tensor([fine])}, "boxes (=(torch.float32, (1, 4)))"),
        ({"boxes": torch.tensor([[0.1, 0.1, 0.5, 0.5], [0, 0, 1, 1]])}, "boxes (=[[0.1"),
        ({"labels": torch.tensor([1, 4])}, "labels (=4) must be from 1 to 3"),
        ({"labels": torch.tensor([1, 2], dtype=torch.int32)}, "labels (=(torch.int32"),
        ({"crowd": torch.tensor([True])}, "crowd (=(torch.bool, (1,)))"),
        ({"crowd": torch.tensor([0, 1])}, "crowd (=(torch.int64"),
        ({"masks": torch.ones(2, 20, 10, dtype=torch.uint8)}, "masks (=(torch.uint8, (2, 20, 10)))"),
        ({"masks": torch.ones(1, 10, 20, dtype=torch.uint8)}, "masks (=(torch.uint8, (1, 10, 20)))"),
    ]
    assert_refused(
        lambda changes: check_target(target(**changes), (10, 20), 3, "a.png"),
        [(changes, rf"^a\.png: {re.escape(fault)}") for changes, fault in rows],
    )


def test_a_map_of_classes_and_ignored_pixels_passes() -> None:
    check_map(torch.tensor([[0, 1, 2], [255, 2, 0]]), (2, 3), 3, "a.png")
    with pytest.raises(ValueError, match=r"^a\.png: map \(=3\) must be from 0 to 2, or 255"):
        check_map(torch.tensor([[0, 3, 2], [255, 2, 0]]), (2, 3), 3, "a.png")


def test_crowds_are_left_out_of_every_field() -> None:
    left = without_crowd(target())
    assert {name: len(field) for name, field in left.items()} == dict.fromkeys(target(), 1)
    assert left["labels"].tolist() == [1] and left["boxes"].tolist() == [[0, 0, 20, 10]]


def test_a_segmentation_batch_is_stacked_or_refused() -> None:
    items = [(torch.full((3, 4, 5), i, dtype=torch.uint8), torch.full((4, 5), i)) for i in range(2)]
    images, maps = collate_segmentation(items)
    assert images.shape == (2, 3, 4, 5) and maps.shape == (2, 4, 5)
    assert images[1].unique().tolist() == maps[1].unique().tolist() == [1]
    items.append((torch.zeros(3, 5, 4, dtype=torch.uint8), torch.zeros(5, 4, dtype=torch.int64)))
    with pytest.raises(ValueError, match=r"images \(=\[\(4, 5\), \(5, 4\)\]\) of a batch must have one size"):
        collate_segmentation(items)
