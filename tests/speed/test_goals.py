"""Ratios are computed and judged rightly."""

import json

import pytest

from resnest_edu.speed.goals import NETWORK_TARGETS, SMALL_TARGET, TAIL_TARGETS, Target, judge, judge_networks


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
