"""Ratios are computed and judged rightly."""

import json

import pytest
import torch

from resnest_edu.book import speed_goals
from resnest_edu.book.speed_goals import (
    NETWORK_TARGETS,
    SMALL_TARGET,
    TAIL_TARGETS,
    Target,
    judge,
    judge_networks,
    run,
)
from resnest_edu.speed.benchmark_networks import CHOSEN, OURS, PEER, Case


@pytest.mark.parametrize(
    ("at_most", "ratio", "met"),
    [(False, 1.3, True), (False, 1.29, False), (False, 2.0, True), (True, 1.3, True), (True, 1.31, False)],
)
def test_judged_both_ways(at_most, ratio, met):
    target = Target("speed", 1.3, at_most)
    expected = {"target": "speed", "limit": 1.3, "at_most": at_most, "ratio": ratio, "met": met}
    assert judge(target, ratio) == expected
    assert json.loads(json.dumps(expected)) == expected


def row(network, task="training", execution="eager", speed=1.0, peak=None):
    return {"network": network, "task": task, "execution": execution, "images_per_second": speed, "peak_gib": peak}


def test_ours_over_the_peers():
    eager = [row("a", speed=30.0), row("b", speed=15.0), row("c", speed=99.0)]
    inference = [row("a", "inference", speed=16.0), row("b", "inference", speed=10.0)]
    rows = [
        *eager,
        *(row(name, execution="compiled", peak=peak) for name, peak in (("a", 6.0), ("b", 5.0))),
        *inference,
    ]
    judged = judge_networks(rows, "cuda", ours="a", peer="b")
    found = {target["target"]: (target["ratio"], target["met"]) for target in judged}
    assert found == {
        "training speed, eager": (2.0, True),
        "inference speed, eager": (1.6, False),
        "peak memory of training, compiled": (1.2, False),
    }


def test_the_better_way_of_each_counts():
    rows = [row("a", speed=3.0), row("a", speed=4.0), row("b", speed=5.0), row("b", speed=2.0)]
    rows += [
        row(name, execution="compiled", peak=peak) for name, peak in (("a", 4.0), ("a", 3.0), ("b", 6.0), ("b", 7.0))
    ]
    assert [target["ratio"] for target in judge_networks(rows, "cuda", ours="a", peer="b")] == [0.8, 0.5]


def test_without_both_sides_there_is_no_ratio():
    assert judge_networks([row("a")], "cpu", ours="a", peer="b") == []
    assert judge_networks([row("b")], "cpu", ours="a", peer="b") == []


def test_the_targets():
    limits = {device: [target.limit for target in NETWORK_TARGETS[device].values()] for device in NETWORK_TARGETS}
    assert limits == {"cuda": [1.5, 1.3, 1.7, 1.2, 0.9], "cpu": [1.1, 1.1]}
    assert [target.at_most for target in NETWORK_TARGETS["cuda"].values()] == [False] * 4 + [True]
    assert {name: target.limit for name, target in TAIL_TARGETS.items()} == {"forward_share": 0.6, "both_share": 0.5}
    assert SMALL_TARGET.limit == 4
    assert not any(
        target.at_most for target in [*TAIL_TARGETS.values(), SMALL_TARGET, *NETWORK_TARGETS["cpu"].values()]
    )


def test_groups_of_one_task_and_one_execution_take_turns_share_the_time_and_are_judged(monkeypatch):
    groups, now = [], iter([0.0, 10.0, 70.0])

    def compare(cases, device, **options):
        groups.append(([case.network for case in cases], options))
        speeds = {OURS: 10.0, PEER: 20.0, CHOSEN: 5.0}
        rows = [row(case.network, case.task, speed=speeds[case.network]) for case in cases]
        return {"rows": rows, "skipped": {cases[0].task: "no time left"}}

    monkeypatch.setattr(speed_goals, "compare", compare)
    monkeypatch.setattr(speed_goals.time, "monotonic", lambda: next(now))
    names = [PEER, OURS, CHOSEN]
    cases = [Case(name, task, "eager", 2, 32) for name in names for task in ("training", "inference")]
    results = run(cases, torch.device("cpu"), rounds=2, seconds=100.0)
    assert groups == [(names, {"rounds": 2, "seconds": left}) for left in (90.0, 30.0)]
    assert len(results["rows"]) == 6 and list(results["skipped"]) == ["training", "inference"]
    judged = [(target["network"], target["target"], target["ratio"]) for target in results["targets"]]
    tasks = "training speed, eager", "inference speed, eager"
    assert judged == [(name, task, ratio) for name, ratio in ((OURS, 0.5), (CHOSEN, 0.25)) for task in tasks]
    assert results["threads"] == torch.get_num_threads()
    json.dumps(results)
