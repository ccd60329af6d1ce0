"""The recorded speed experiments ask for what they say, and return plain values."""

import json

import pytest
import torch

from resnest_edu.book import speed_goals as benchmark
from resnest_edu.book.experiments import (
    speed_breakdown,
    speed_cpu,
    speed_eager,
    speed_inference,
    speed_layers,
    speed_small,
    speed_training,
)
from resnest_edu.speed.benchmark_networks import NETWORKS, PEER, SMALL_NETWORKS

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def asked(monkeypatch):
    calls = []
    monkeypatch.setattr(
        benchmark, "run", lambda cases, device, **options: calls.append((cases, device, options)) or {"rows": []}
    )
    return calls


def test_all_networks_on_a_gpu(asked):
    for experiment, ways, seconds in [
        (speed_eager, [("training", "eager"), ("inference", "eager")], {}),
        (speed_training, [("training", "graphs")], {"seconds": 400}),
        (speed_breakdown, [("training", "compiled")], {"seconds": 400}),
        (speed_inference, [("inference", "graphs"), ("inference", "compiled")], {"seconds": 400}),
    ]:
        assert experiment.NEEDS_CUDA
        assert experiment.run(CUDA) == {"rows": []}
        cases, device, options = asked.pop()
        assert (device, options) == (CUDA, {"rounds": 15, "repeats": 5, **seconds})
        expected = [(*way, network) for way in ways for network in NETWORKS]
        assert [(case.task, case.execution, case.network) for case in cases] == expected
        assert {(case.batch, case.size, case.channels_last) for case in cases} == {(128, 224, True)}


@pytest.mark.parametrize("given", [CPU, CUDA])
def test_on_the_cpu_the_peer_in_both_memory_formats(asked, given):
    assert not speed_cpu.NEEDS_CUDA
    results = speed_cpu.run(given)
    assert results["device"].endswith(" cores")
    json.dumps(results)
    cases, device, options = asked[0]
    assert (device, options) == (CPU, {"rounds": 5, "repeats": 1})
    assert {(case.execution, case.batch, case.size) for case in cases} == {("eager", 8, 128)}
    for task in ("training", "inference"):
        mine = [case for case in cases if case.task == task]
        assert {case.network for case in mine if case.channels_last} == set(NETWORKS) - {"torchvision resnet50"}
        assert [case.network for case in mine if not case.channels_last] == [PEER]


def test_small_networks_against_themselves(monkeypatch):
    def compare(cases, device, *, rounds, repeats):
        assert (device, rounds, repeats) == (CUDA, 15, 20)
        assert all((case.task, case.batch, case.size) == ("training", 128, 32) for case in cases)
        graphs = {"ours, small": 45.0, "ours, small, accelerated": 36.0}
        speeds = [graphs[case.network] if case.execution == "graphs" else 10.0 for case in cases]
        return {
            "rows": [
                {"network": case.network, "execution": case.execution, "images_per_second": speed}
                for case, speed in zip(cases, speeds, strict=True)
            ],
            "skipped": {},
        }

    monkeypatch.setattr(speed_small, "compare", compare)
    assert speed_small.NEEDS_CUDA
    results = speed_small.run(CUDA)
    judged = [(target["network"], target["ratio"], target["met"]) for target in results["targets"]]
    assert judged == [("ours, small", 4.5, True), ("ours, small, accelerated", pytest.approx(3.6), False)]
    assert len(results["rows"]) == 2 * len(SMALL_NETWORKS)
    json.dumps(results)


def test_layers(monkeypatch):
    asked = []
    options = {"device": CUDA, "rounds": 15, "repeats": 20}

    def table(name):
        def rows(*shape, **others):
            asked.append((name, shape, others))
            share = 0.7 if shape == (64, 56) else 0.1
            forms = ["reference", "accelerated", "reference, compiled", "accelerated, compiled"]
            return [{"form": f, "forward_share": share + i, "both_share": share - 0.3} for i, f in enumerate(forms)]

        return rows

    for name in ("convolutions", "pools", "tail"):
        monkeypatch.setattr(speed_layers, name, table(name))
    monkeypatch.setattr(speed_layers, "copy_bandwidth", lambda **others: asked.append(("copy", (), others)) or 4e12)
    assert speed_layers.NEEDS_CUDA
    results = speed_layers.run(CUDA)
    assert asked[0] == ("copy", (), options)
    for name, count, extra in (("tail", 4, {"bandwidth": 4e12}), ("convolutions", 7, {}), ("pools", 3, {})):
        mine = [others for kind, _, others in asked if kind == name]
        assert mine == [{"batch": 128, **extra, **options}] * count
    assert results["bandwidth"] == 4e12
    assert [len(results[name]) for name in ("convolutions", "pools", "tails")] == [28, 12, 16]
    judged = [(target["limit"], target["ratio"], target["met"]) for target in results["targets"]]
    assert judged == [(0.6, 3.7, True), (0.5, pytest.approx(0.4), False)]
    json.dumps(results)
