"""What is run: every network alike, in the mode and the layout of its case."""

import sys

import pytest
import torch
from torch import nn

from resnest_edu import Bottleneck, resnest11_small
from resnest_edu.speed import PerSplitBottleneck, benchmark_networks
from resnest_edu.speed.benchmark_networks import (
    CHOSEN,
    NETWORKS,
    OURS,
    PEER,
    SMALL_NETWORKS,
    Case,
    all_cases,
    build,
    builder,
    make_step,
)
from tests.refused import assert_refused

CPU = torch.device("cpu")


def case(network="ours, small", task="training", execution="eager", batch=2, size=32, **options):
    return Case(network, task, execution, batch, size, **options)


def test_a_case_that_cannot_be_run():
    rows = [
        ({"task": "x"}, r"^task \(='x'\) must be one of training, inference$"),
        ({"execution": "x"}, r"^execution \(='x'\) must be one of eager, compiled, graphs$"),
        ({"batch": 1}, r"^batch \(=1\) must be at least 2$"),
        ({"size": 31}, r"^size \(=31\) must be at least 32$"),
    ]
    assert_refused(lambda options: case(**options), rows)


def test_a_network_by_its_name():
    shape = resnest11_small().state_dict()["conv1.0.weight"].shape
    for name, kind in (("resnest11_small", Bottleneck), ("accelerated/resnest11_small", PerSplitBottleneck)):
        model = builder(name)()
        assert type(model.layer1[0]) is kind and model.conv1[0].weight.shape == shape
    assert sum(part.numel() for part in builder("torchvision/resnet18")().parameters()) == 11689512
    pytest.importorskip("timm")
    assert builder("timm/resnet18.a1_in1k")().num_classes == 1000
    no_model = "must be a model of this package, of timm/ or of torchvision/"
    names = ["timm/x", "torchvision/resnet51", "torchvision/fasterrcnn_resnet50_fpn", "gluon/resnest50", "/resnest50"]
    rows = [(name, rf"^model \(='{name}'\) {no_model}") for name in names]
    rows += [(name, r"^model \(='x'\) must be one of resnest11_small, ") for name in ("x", "accelerated/x")]
    assert_refused(builder, rows)


def test_a_case_in_words():
    assert str(case()) == "ours, small, training, eager"
    assert str(case(channels_last=False)) == "ours, small, training, eager, channels first"


def test_all_cases():
    cases = all_cases(["training", "inference"], ["eager", "graphs"], 4, 64)
    assert len(set(cases)) == len(cases) == 4 * len(NETWORKS)
    assert cases[0] == Case(OURS, "training", "eager", 4, 64)
    assert cases[1].network == PEER
    assert [(c.task, c.execution) for c in cases[:: len(NETWORKS)]] == [
        ("training", "eager"),
        ("training", "graphs"),
        ("inference", "eager"),
        ("inference", "graphs"),
    ]


def test_the_table():
    assert list(NETWORKS)[:2] == ["ours, accelerated", "timm resnest50d"]
    assert NETWORKS["ours"].__name__ == NETWORKS[CHOSEN].__name__ == "resnest50"
    sizes = {"ours, accelerated": 27483240, "torchvision resnet50": 25557032}
    for name, size in sizes.items():
        with torch.device("meta"):
            assert sum(p.numel() for p in NETWORKS[name]().parameters()) == size
    for name in SMALL_NETWORKS:
        model = SMALL_NETWORKS[name]()
        assert isinstance(model.layer1[0], PerSplitBottleneck) == ("accelerated" in name)
        assert model.layer1[0].conv1.weight.shape == resnest11_small().layer1[0].conv1.weight.shape


@pytest.mark.parametrize(("name", "size"), [("timm resnest50d", 27483240), ("timm resnet50d", 25576264)])
def test_the_peers(name, size):
    pytest.importorskip("timm")
    with torch.device("meta"):
        assert sum(p.numel() for p in NETWORKS[name]().parameters()) == size


def test_a_missing_peer_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match="timm"):
        build(case(PEER), CPU)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("task", ["training", "inference"])
def test_built_in_the_mode_and_layout_of_the_case(task, channels_last):
    model, images = build(case(task=task, channels_last=channels_last, batch=3, size=40), CPU)
    assert model.training == (task == "training")
    assert images.shape == (3, 3, 40, 40)
    weight = model.get_parameter("conv1.0.weight")
    for tensor in (images, weight):
        assert tensor.is_contiguous(memory_format=torch.channels_last) == channels_last
    again, other = build(case(task=task, channels_last=channels_last, batch=3, size=40), CPU)
    assert torch.equal(other, images) and torch.equal(again.get_parameter("conv1.0.weight"), weight)
    assert images.std() > 0.9  # zeros are faster than images


def test_measured_on_the_batch_and_in_the_mode_of_the_case(monkeypatch):
    monkeypatch.setitem(NETWORKS, CHOSEN, resnest11_small)
    calls = []
    monkeypatch.setattr(
        benchmark_networks, "accelerate", lambda model, images: calls.append((model, images, model.training))
    )
    model, images = build(case(CHOSEN, "inference"), CPU)
    assert calls == [(model, images, False)]
    build(case(), CPU)
    assert len(calls) == 1


def test_a_training_step_trains():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 10))
    images = torch.randn(12, 3, 2, 2)
    expected = nn.Sequential(nn.Flatten(), nn.Linear(12, 10))
    expected.load_state_dict(model.state_dict())
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.01, momentum=0.9)
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1])
    step = make_step(model, images, "eager")
    for _ in range(3):
        step()
        optimizer.zero_grad()
        nn.functional.cross_entropy(expected(images), labels).backward()
        optimizer.step()
        assert all(parameter.grad is None for parameter in model.parameters())  # freed within the step
        torch.testing.assert_close(model.state_dict(), expected.state_dict())


def test_an_inference_step_makes_logits_without_gradients():
    model, images = build(case(task="inference"), CPU)
    logits = make_step(model, images, "eager")()
    assert logits.shape == (2, 1000) and logits.dtype == torch.float32 and not logits.requires_grad
    torch.testing.assert_close(logits, model(images).detach())


@pytest.mark.parametrize(
    ("execution", "mode", "marks"), [("eager", None, 0), ("compiled", "default", 0), ("graphs", "reduce-overhead", 2)]
)
def test_compiled_whole_or_not_at_all(monkeypatch, execution, mode, marks):
    seen, marked = [], []
    monkeypatch.setattr(torch, "compile", lambda model, **options: seen.append(options) or model)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marked.append(1))
    model, images = build(case(task="inference"), CPU)
    step = make_step(model, images, execution)
    step(), step()
    assert seen == ([{"mode": mode, "fullgraph": True, "dynamic": False}] if mode else [])
    assert len(marked) == marks


def test_ours_are_made_of_bottlenecks():
    with torch.device("meta"):
        plain, fast = NETWORKS["ours"](), NETWORKS[OURS]()
    assert type(plain.layer1[0]) is Bottleneck
    assert sum(isinstance(part, PerSplitBottleneck) for part in fast.modules()) == 16
