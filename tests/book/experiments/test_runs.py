"""Training runs as pieces of experiments, with a few tiny images."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from resnest_edu.book.experiments import _runs, ablation, best, components, time_to_907
from resnest_edu.book.experiments._runs import Job, run_jobs
from resnest_edu.training import get_recipe

CPU = torch.device("cpu")
SMALL = replace(get_recipe("shapes"), epochs=2, batch_size=8, warmup_epochs=0.5)


def job(name: str, **options) -> Job:
    return Job(name, SMALL.build, SMALL, **options)


def run(data, *jobs: Job, processes: int = 1) -> dict[str, dict]:
    jobs = {one.name: one for one in jobs}
    return dict(run_jobs(iter(jobs), jobs, CPU, data, processes=processes))


def multiply_adds(model: nn.Module) -> int:
    """Counted while it runs: a weight is used once for each place of the output."""
    counts = []

    def count(layer, inputs, output):
        counts.append(layer.weight.numel() * output[0, 0].numel())

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    model.eval()(torch.zeros(1, 3, 32, 32))
    return sum(counts)


def test_a_run_says_what_it_found_and_what_it_cost(tiny_cifar10):
    figures = run(tiny_cifar10, job("a", seed=3))["a"]
    json.dumps(figures)
    model = SMALL.build(10)
    assert figures["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert figures["multiply_adds"] == multiply_adds(model)
    assert [set(epoch) for epoch in figures["epochs"]] == [{"train_loss", "test_accuracy", "seconds"}] * 2
    assert figures["test_accuracy"] == figures["epochs"][-1]["test_accuracy"]
    assert 20 * figures["test_accuracy"] == pytest.approx(round(20 * figures["test_accuracy"]))
    assert figures["seconds"] == pytest.approx(sum(epoch["seconds"] for epoch in figures["epochs"]))
    assert 60 / figures["images_per_second"] < figures["seconds"]  # two epochs of thirty images, without measuring
    assert figures["preparation_seconds"] > 0


def losses(figures):
    return [epoch["train_loss"] for epoch in figures["epochs"]]


def test_the_seed_decides(tiny_cifar10, monkeypatch):
    found = run(tiny_cifar10, job("a"), job("other", seed=1), job("alone", alone=True))
    losses = {name: [epoch["train_loss"] for epoch in figures["epochs"]] for name, figures in found.items()}
    assert losses["a"] == losses["alone"] != losses["other"]
    weights = []

    def train(model, *images, seed, **options):
        weights.append((seed, model.fc.weight.detach().clone()))
        raise InterruptedError

    monkeypatch.setattr(_runs, "train", train)
    for seed in (0, 0, 1):
        with pytest.raises(InterruptedError):
            run(tiny_cifar10, job("a", seed=seed))
    (_, first), (_, second), (seed, other) = weights
    assert seed == 1 and first.equal(second) and not first.equal(other)


def test_on_cuda_all_but_those_that_must_be_alone_run_side_by_side(tiny_cifar10, monkeypatch):
    asked = []

    def side_by_side(function, arguments, *, processes):
        group = list(arguments)
        asked.append(([one.name for one in group], processes))
        assert function.keywords["device"].type == "cuda" and function.keywords["file"].exists()
        return [(one, {}) for one in group]

    monkeypatch.setattr(_runs, "side_by_side", side_by_side)
    jobs = {name: job(name, alone=name in "cd") for name in "abcde"}
    assert dict(run_jobs(iter(jobs), jobs, torch.device("cuda"), tiny_cifar10, processes=8)) == {
        name: {} for name in jobs
    }
    assert asked == [(["a", "b"], 8), (["c", "d"], 1), (["e"], 8)]


def test_speed_is_that_of_epochs_but_the_first(tiny_cifar10, monkeypatch):
    trained = []

    def train(model, train_data, test_data, recipe, **options):
        trained.append((len(train_data), len(test_data), recipe.epochs, recipe.warmup_epochs, recipe.batch_size))
        return [SimpleNamespace(images_per_second=speed) for speed in (1.0, 30.0, 10.0, 40.0, 20.0)]

    monkeypatch.setattr(_runs, "train", train)
    assert run(tiny_cifar10, job("a", speed_only=True)) == {"a": {"images_per_second": 25.0}}
    assert trained == [(30, 8, 5, 0, 8)]


def test_the_warm_up_meets_every_size_of_batch(tiny_cifar10, monkeypatch):
    _runs._warm_up.cache_clear()
    trained, train = [], _runs.train

    def note(model, train_data, test_data, recipe, **options):
        trained.append((len(train_data), len(test_data), recipe.epochs, options["seed"], options["compile"]))
        return train(model, train_data, test_data, recipe, **options)

    monkeypatch.setattr(_runs, "train", note)
    run(tiny_cifar10, job("a", alone=True, seed=1), job("b", alone=True, seed=2))
    # 30 = 3 · 8 + 6 for training, 20 for the test; warmed up once for both.
    assert trained == [(14, 20, 1, 0, False), (30, 20, 2, 1, False), (30, 20, 2, 2, False)]


@pytest.mark.parametrize("experiment", [best, time_to_907])
def test_experiments_of_one_network(experiment, tiny_cifar10, monkeypatch):
    assert experiment.NEEDS_CUDA and experiment.NEEDS_DATA
    assert list(experiment.PIECES) == [f"seed {seed}" for seed in range({best: 3, time_to_907: 5}[experiment])]
    for seed, one in enumerate(experiment.JOBS.values()):
        assert (one.seed, one.alone, one.speed_only, one.recipe) == (seed, True, False, experiment.RECIPE)
    small = {name: replace(one, recipe=SMALL, build=SMALL.build) for name, one in experiment.JOBS.items()}
    monkeypatch.setattr(experiment, "JOBS", small)
    pieces = dict(experiment.run_pieces(iter(experiment.PIECES), CPU, tiny_cifar10))
    assert tuple(pieces) == experiment.PIECES
    summary = experiment.summarize(pieces)
    assert summary["test_accuracy"]["n"] == len(pieces)
    assert summary["recipe"]["epochs"] == experiment.RECIPE.epochs
    json.dumps([pieces, summary])


def test_the_time_is_that_of_all_epochs_up_to_the_first_that_reaches_the_target():
    epochs = [{"test_accuracy": value, "seconds": 2.0} for value in (0.5, 0.907, 0.9, 0.91)]
    found = time_to_907.reached(epochs)
    assert found == {"target_epoch": 2, "target_seconds": 4.0}
    missed = time_to_907.reached(epochs[:1])
    assert missed == {"target_epoch": None, "target_seconds": None}
    pieces = {"0": {"test_accuracy": 0.91, **found}, "1": {"test_accuracy": 0.93, **found}}
    summary = time_to_907.summarize(pieces)
    assert (summary["reached"], summary["runs"], summary["target"]) == (2, 2, 0.907)
    assert summary["target_seconds"] == {"mean": 4.0, "sd": 0.0, "n": 2}
    assert summary["test_accuracy"]["mean"] == pytest.approx(0.92)
    summary = time_to_907.summarize(pieces | {"2": {"test_accuracy": 0.5, **missed}})
    assert (summary["reached"], summary["runs"], summary["target_seconds"]) == (2, 3, None)


def accuracies(names):
    """Made-up figures: a piece's accuracy tells its seed."""
    costs, speed = {"parameters": 5, "multiply_adds": 7, "seconds": 2.0}, {"images_per_second": 9.0}
    return {name: speed if name.endswith("speed") else {**costs, "test_accuracy": int(name[-1]) / 10} for name in names}


@pytest.mark.parametrize("experiment", [ablation, components])
def test_comparisons_run_every_network_from_every_seed(experiment, tiny_cifar10, monkeypatch):
    assert experiment.NEEDS_CUDA and experiment.NEEDS_DATA
    asked = []
    monkeypatch.setattr(experiment, "run_jobs", lambda *given, **options: asked.append((given, options)) or iter(()))
    names = iter(experiment.PIECES)
    assert list(experiment.run_pieces(names, CPU, tiny_cifar10)) == []
    assert asked == [((names, experiment.JOBS, CPU, tiny_cifar10), {"processes": 8})]

    summary = experiment.summarize(accuracies(experiment.PIECES))
    json.dumps(summary)
    assert summary["seeds"] == [0, 1, 2, 3, 4]
    rows = summary["networks" if experiment is ablation else "steps"]
    for row in rows.values():
        assert row["test_accuracies"] == [0.0, 0.1, 0.2, 0.3, 0.4]
        assert row["test_accuracy"]["mean"] == pytest.approx(0.2) and row["seconds"]["n"] == 5
        assert (row["parameters"], row["multiply_adds"]) == (5, 7)
    assert len(experiment.JOBS) == len(rows) * (6 if experiment is ablation else 5)
    # The runs of a seed come together, so that every beginning of the list is fair to all.
    seeds = [int(name[-1]) for name in experiment.PIECES if not name.endswith("speed")]
    assert seeds == sorted(seeds)
    for name, one in experiment.JOBS.items():
        assert one.name == name
        if not name.endswith("speed"):
            assert (one.seed, one.alone, one.speed_only) == (int(name[-1]), False, False)


def test_a_piece_of_every_kind(tiny_cifar10):
    small = {"epochs": 1, "warmup_epochs": 0.5, "batch_size": 10}
    some = {name: one for name, one in ablation.JOBS.items() if name.endswith(("seed 0", "speed"))}
    some = dict(list(some.items())[8:10]) | {name: components.JOBS[name] for name in list(components.JOBS)[:5]}
    jobs = {name: replace(one, recipe=replace(one.recipe, **small)) for name, one in some.items()}
    assert {one.speed_only for one in jobs.values()} == {True, False}
    found = dict(run_jobs(iter(jobs), jobs, CPU, tiny_cifar10, processes=1))
    json.dumps(found)
    assert list(found) == list(jobs)


def test_the_blocks_alone_differ_and_unequal_costs_are_refused():
    summary = ablation.summarize(accuracies(ablation.PIECES))
    assert list(summary["networks"]) == list(ablation.BUILD) and len(ablation.BUILD) == 9
    assert {one.recipe for one in ablation.JOBS.values()} == {ablation.RECIPE}
    assert all(row["images_per_second"] == 9.0 for row in summary["networks"].values())
    speeds = list(ablation.JOBS.values())[45:]
    assert all(one.alone and one.speed_only for one in speeds) and len(speeds) == 9
    ablation.require_equal_cost({name: _runs.cost(build, 32) for name, build in ablation.BUILD.items()})
    costs = {"a": {"multiply_adds": 1000}, "b": {"multiply_adds": 970}, "c": {"multiply_adds": 1030}}
    ablation.require_equal_cost(costs)
    for wrong in (969, 1031):
        with pytest.raises(ValueError, match=rf"multiply-adds of c \(={wrong:,}\) must be within 3 % of 1,000"):
            ablation.require_equal_cost(costs | {"c": {"multiply_adds": wrong}})


def test_each_component_adds_to_the_one_before():
    (plain, base), (_, mixed), (_, with_policy), (split, _), (later, last) = components.STEPS.values()
    assert (base.mixup, base.policy) == (0, "none")
    assert mixed == replace(base, mixup=0.2)
    assert with_policy == last == replace(mixed, policy="randaugment")
    recipes = [row["recipe"] for row in components.summarize(accuracies(components.PIECES)).get("steps").values()]
    assert [recipe["policy"] for recipe in recipes] == ["none", "none", *["randaugment"] * 3]
    assert all("model" not in recipe for recipe in recipes)
    costs = [_runs.cost(build, 32)["multiply_adds"] for build in (plain, split, later)]
    assert costs[1] == pytest.approx(costs[0], rel=0.03)
    assert costs[2] > 1.05 * costs[1]
