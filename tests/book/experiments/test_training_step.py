import pytest
import torch

from resnest_edu import create_model
from resnest_edu.book.experiments import training_step
from resnest_edu.speed.benchmark_networks import OURS, PEER
from resnest_edu.training import RECIPES


def test_rows_and_ratio(monkeypatch):
    small = lambda: create_model("resnest11_small", 1000)  # noqa: E731
    monkeypatch.setitem(training_step.NETWORKS, "ours", small)
    monkeypatch.setitem(training_step.NETWORKS, PEER, small)
    monkeypatch.setitem(training_step.SIZES, "cpu", (4, 32))
    monkeypatch.setattr(training_step, "ROUNDS", 2)
    found = training_step.run(torch.device("cpu"))
    assert (found["batch"], found["size"]) == (4, 32)
    rows = found["rows"]
    assert list(rows) == [OURS, PEER, f"{PEER}, channels first"]
    for row in rows.values():
        assert 0 < row["low"] <= row["images_per_second"] <= row["high"]
        assert row["rounds"] == 2
    best = max(row["images_per_second"] for row in list(rows.values())[1:])
    assert found["ratio"] == pytest.approx(rows[OURS]["images_per_second"] / best)


def test_both_steps_train(monkeypatch):
    recipe = RECIPES["shapes"]
    torch.manual_seed(0)
    images, labels = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8), torch.arange(8)
    models = []

    def build():
        models.append(create_model("resnest11_small", 1000))
        return models[-1]

    monkeypatch.setitem(training_step.NETWORKS, "ours", build)
    monkeypatch.setitem(training_step.NETWORKS, PEER, build)
    steps = [
        training_step.our_step(recipe, images, labels),
        training_step.their_step(recipe, images, labels, torch.channels_last),
    ]
    for step, model in zip(steps, models, strict=True):
        before = model.fc.weight.detach().clone()
        step()
        step()  # the first one of ours has a rate of 0
        assert not model.fc.weight.equal(before)
        assert model.fc.weight.grad is None
