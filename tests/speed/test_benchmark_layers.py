"""The forms of a layer compute the same, and rows say what was timed."""

import json

import pytest
import torch

from resnest_edu.speed import benchmark_layers as layers
from resnest_edu.speed import timing
from resnest_edu.speed.benchmark_layers import convolutions, pools, tail
from resnest_edu.speed.timing import Timing, copy_bandwidth
from tests.refused import assert_refused

CPU = torch.device("cpu")
OPTIONS = {"device": CPU, "rounds": 2, "repeats": 1}
TIMES = [f"{kind}_ms{end}" for kind in ("forward", "both") for end in ("", "_low", "_high")]


@pytest.fixture
def timed(monkeypatch):
    """Every call that was timed and what it returned, by form; the forward pass takes 1 s, both take 2 s."""
    results = []

    def interleave(calls, device, **options):
        assert device == CPU
        results.append({name: call() for name, call in calls.items()})
        seconds = float(len(results))
        return {name: Timing(seconds, seconds / 2, seconds * 2, 5) for name in calls}

    monkeypatch.setattr(layers, "interleave", interleave)
    monkeypatch.setattr(timing, "interleave", interleave)
    return results


def joined(output):
    return torch.cat(output, 1) if isinstance(output, tuple) else output


def assert_times(rows):
    for row in rows:
        assert [row[name] for name in TIMES] == [1000, 500, 2000, 2000, 1000, 4000]
    json.dumps(rows)


def test_convolutions(timed):
    torch.manual_seed(0)
    rows = convolutions(8, 5, batch=3, **OPTIONS)
    names = [
        "grouped",
        "per split, on slices",
        "per split, on separate halves",
        "block-diagonal dense",
        "plain, C to C",
    ]
    assert [row["form"] for row in rows] == names
    assert_times(rows)
    assert all((row["channels"], row["size"], row["batch"]) == (8, 5, 3) for row in rows)
    forward, both = timed
    grouped = forward["grouped"]
    assert grouped.shape == (3, 16, 5, 5) and not grouped.requires_grad
    assert grouped.is_contiguous(memory_format=torch.channels_last)
    for name in names[1:4]:
        torch.testing.assert_close(joined(forward[name]), grouped)
    assert forward["plain, C to C"].shape == (3, 8, 5, 5)
    shapes = {name: [tuple(gradient.shape) for gradient in both[name]] for name in names}
    x, half, weight = (3, 8, 5, 5), (3, 4, 5, 5), (8, 4, 3, 3)
    weights = (
        [x, (16, 4, 3, 3)],
        [x, weight, weight],
        [half, half, weight, weight],
        [x, (16, 8, 3, 3)],
        [x, (8, 8, 3, 3)],
    )
    assert shapes == dict(zip(names, weights, strict=True))


def test_no_form_pays_for_another_memory_layout(monkeypatch):
    """cuDNN would lay a weight out anew in every call."""
    monkeypatch.setattr(layers, "_rows", lambda forms, *given: forms)
    for name, form in convolutions(8, 5, batch=3, **OPTIONS).items():
        tensors = [*form.inputs, *form.parameters]
        assert all(x.is_contiguous(memory_format=torch.channels_last) and x.is_leaf for x in tensors), name


def test_pools(timed):
    rows = pools(4, 7, 2, batch=3, **OPTIONS)
    assert [row["form"] for row in rows] == ["average pool", "depthwise convolution"]
    assert_times(rows)
    assert all((row["channels"], row["size"], row["stride"], row["batch"]) == (4, 7, 2, 3) for row in rows)
    forward, both = timed
    assert forward["average pool"].shape == (3, 4, 4, 4)
    torch.testing.assert_close(*forward.values())
    assert all([gradient.shape for gradient in gradients] == [(3, 4, 7, 7)] for gradients in both.values())


def test_tail(timed):
    rows = tail(4, 5, batch=3, bandwidth=1200.0, compiled=False, **OPTIONS)
    assert [row["form"] for row in rows] == ["reference", "interpolation", "accelerated"]
    assert_times(rows)
    unit = 3 * 4 * 5 * 5 * 4  # bytes of one feature map
    for row in rows:
        assert (row["channels"], row["size"], row["batch"], row["radix"]) == (4, 5, 3, 2)
        assert row["forward_share"] == pytest.approx(5 * unit / 1200 / 1)
        assert row["both_share"] == pytest.approx(11 * unit / 1200 / 2)
    forward, both = timed
    assert forward["reference"].shape == (3, 4, 5, 5)
    for name in ("interpolation", "accelerated"):
        torch.testing.assert_close(forward[name], forward["reference"])
    # splits, and the dense layers: fc1, bn1, fc2
    dense = [(32, 4, 1, 1), (32,), (32,), (32,), (8, 32, 1, 1), (8,)]
    shapes = {name: [tuple(gradient.shape) for gradient in gradients] for name, gradients in both.items()}
    parts = [(3, 4, 5, 5), (3, 4, 5, 5), *dense]
    assert shapes == {"reference": [(3, 8, 5, 5), *dense], "interpolation": parts, "accelerated": parts}


def test_the_tail_infers_forward_and_trains_backward(monkeypatch):
    modes = []
    monkeypatch.setattr(layers, "weighted_sum", lambda attention, parts: modes.append(attention.training) or sum(
        [*parts, *(p.sum() for p in attention.parameters())]
    ))  # fmt: skip
    tail(4, 5, batch=2, bandwidth=1.0, compiled=False, **OPTIONS)
    assert modes == [False] * 3 + [True] * 4  # three rounds; the extra one tells the shape of the output


def test_what_the_compiler_makes_of_the_tail_is_timed_unless_told_otherwise(timed, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda f, **options: compiled.append(options) or f)
    rows = tail(4, 5, batch=3, bandwidth=1200.0, **OPTIONS)
    forms = ["reference", "interpolation", "accelerated"]
    assert [row["form"] for row in rows] == [*forms, *(f"{form}, compiled" for form in forms)]
    assert compiled == [{"fullgraph": True, "dynamic": False}] * 3


def test_a_copy_reads_and_writes(timed):
    assert copy_bandwidth(CPU, megabytes=3, rounds=2) == 6e6
    assert timed[0]["copy"].numel() == 3e6


def test_really_timed():
    for row in [*convolutions(2, 4, batch=2, **OPTIONS), *pools(2, 4, 1, batch=2, **OPTIONS)]:
        assert 0 < row["forward_ms_low"] <= row["forward_ms"] <= row["forward_ms_high"]
    assert copy_bandwidth(megabytes=1, **OPTIONS) > 0


def test_bad_arguments():
    rows = [
        (lambda: convolutions(3, 4, batch=2, **OPTIONS), r"^channels \(=3\) must be divisible by groups \(=2\)$"),
        (lambda: convolutions(4, 0, batch=2, **OPTIONS), r"^size \(=0\) must be an integer of at least 1$"),
        (lambda: pools(4, 4, 0, batch=2, **OPTIONS), r"^stride \(=0\) must be an integer of at least 1$"),
        (lambda: tail(4, 4, batch=0, bandwidth=1.0, **OPTIONS), r"^batch \(=0\) must be an integer of at least 1$"),
        (lambda: copy_bandwidth(megabytes=0, **OPTIONS), r"^megabytes \(=0\) must be an integer of at least 1$"),
    ]
    assert_refused(lambda call: call(), rows)


def test_the_shapes_are_those_of_resnest50():
    assert layers.TAILS[0] == (64, 56)  # what the target speaks of
    assert all(size * channels in (3584, 7168) for channels, size in layers.CONVOLUTIONS)
    assert all(size * channels == 7168 and stride == 2 for channels, size, stride in layers.POOLS)
