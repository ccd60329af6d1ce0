"""Multiply-adds and bytes of single operations are those that are counted by hand."""

import pytest
import torch
from torch import nn

from resnest_edu.book.listener import KINDS, Listener, bytes_of, total


def heard(layer: nn.Module, *shape: int, training: bool = False) -> list:
    layer = layer.to("meta").train(training)
    x = torch.empty(shape, device="meta", requires_grad=training)
    with torch.set_grad_enabled(training), Listener() as listener:
        output = layer(x)
        if training:
            output.backward(torch.empty_like(output))
    return listener.heard


def test_a_convolution_reads_its_input_and_weights_and_writes_its_output() -> None:
    (found,) = heard(nn.Conv2d(8, 16, 3, padding=1, groups=2, bias=False), 5, 8, 7, 6)
    positions, weights = 5 * 7 * 6, 16 * 4 * 9
    assert (found.work, found.kind) == (positions * weights, "grouped 3×3")
    assert found.operations == 2 * found.work
    assert (found.reads, found.writes) == (4 * (8 * positions + weights), 4 * 16 * positions)


@pytest.mark.parametrize("groups", [1, 2])
def test_backward_a_convolution_works_twice(groups: int) -> None:
    forward, *backward = heard(nn.Conv2d(8, 16, 3, groups=groups, bias=False), 5, 8, 7, 6, training=True)
    assert total(backward, "work") == 2 * forward.work


def test_a_norm_reads_once_more_in_training() -> None:
    (one,) = heard(nn.BatchNorm2d(64), 5, 64, 7, 6)
    found = heard(nn.BatchNorm2d(64), 5, 64, 7, 6, training=True)
    twice = next(other for other in found if other.name == "native_batch_norm")
    assert twice.reads - one.reads == 4 * 64 * 5 * 7 * 6
    assert (one.work, one.operations, one.kind) == (0, 64 * 5 * 7 * 6, "norm, ReLU, add")


def test_views_move_nothing_and_broadcasts_are_read_at_their_size() -> None:
    with Listener() as listener:
        small = torch.empty(2, 3, 1, 1, device="meta").expand(2, 3, 9, 9)
        large = torch.empty(2, 3, 9, 9, device="meta")
        (small * large).view(6, 81)
    (found,) = listener.heard
    assert found.reads == bytes_of(small) + bytes_of(large) == 4 * (2 * 3 + 2 * 3 * 81)
    assert found.moved - found.reads == found.writes == bytes_of(large)
    assert found.kind in KINDS and total([found], "moved", "pool") == 0
