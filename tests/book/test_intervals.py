"""Intervals, paired tests and their correction, against published values and against simulation."""

import numpy as np
import pytest

from resnest_edu.book import intervals
from tests.refused import assert_refused

# Student's own data (Biometrika 6, 1908): additional hours of sleep of ten patients with two drugs.
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_the_interval_of_a_mean():
    # From the table of t: 2.262 at 97.5 % and 3.250 at 99.5 % with 9 degrees of freedom; 12.706 with one.
    spread = np.std(FIRST, ddof=1) / 10**0.5
    for options, t in (({}, 2.262), ({"confidence": 0.95}, 2.262), ({"confidence": 0.99}, 3.250)):
        interval = intervals.mean_interval(FIRST, **options)
        assert interval.mean == pytest.approx(0.75)
        assert interval.high - interval.mean == pytest.approx(t * spread, rel=2e-4)
        assert interval.mean - interval.low == pytest.approx(t * spread, rel=2e-4)
    assert intervals.mean_interval([1.0, 3.0]).high == pytest.approx(2 + 12.706, abs=1e-3)
    assert intervals.mean_interval([5, 5, 5]) == intervals.Interval(5, 5, 5)


def test_intervals_hold_the_true_mean_as_often_as_they_say():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (1000, 5)).tolist()
    found = [intervals.mean_interval(values) for values in draws]
    share = np.mean([interval.low < 3 < interval.high for interval in found])
    assert share == pytest.approx(0.95, abs=0.02)


def test_the_paired_test_of_students_data():
    # R's t.test(extra ~ group, paired = TRUE): t = -4.0621, p = 0.002833, interval -2.4598858 to -0.7001142.
    test = intervals.paired_test(FIRST, SECOND)
    assert test.p == pytest.approx(0.002833, abs=5e-7)
    assert test.difference.mean == pytest.approx(-1.58)
    assert (test.difference.low, test.difference.high) == pytest.approx((-2.4598858, -0.7001142), abs=5e-8)
    wider = intervals.paired_test(FIRST, SECOND, confidence=0.99).difference
    assert wider.low < test.difference.low < test.difference.high < wider.high
    assert intervals.paired_test(SECOND, FIRST).difference.low == pytest.approx(0.7001142)


def test_differences_without_spread():
    assert intervals.paired_test(FIRST, FIRST) == intervals.PairedTest(intervals.Interval(0, 0, 0), 1)
    assert intervals.paired_test([2, 3, 4], [1, 2, 3]) == intervals.PairedTest(intervals.Interval(1, 1, 1), 0)


def test_holms_correction():
    for given, corrected in [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
        ([0.4, 0.6, 0.5], [1, 1, 1]),
        ([0.02, 0.021], [0.04, 0.04]),
        ([], []),
    ]:
        names = [f"test {i}" for i in range(len(given))]
        found = intervals.holm(dict(zip(names, given, strict=True)))
        assert list(found) == names
        assert list(found.values()) == pytest.approx(corrected)


def test_bad_input():
    mean, paired = intervals.mean_interval, intervals.paired_test
    rows = [
        (lambda: mean([1.0]), r"values \(=\[1.0\]\) must be at least two, or there is no spread"),
        (
            lambda: mean([1, 2], confidence=95),
            r"confidence \(=95\) must be a finite number greater than 0 and at",
        ),
        (lambda: mean([1, 2], confidence=0), r"confidence \(=0\) must be"),
        (lambda: mean([1, 2], confidence=1), r"confidence \(=1\) must be below 1"),
        (lambda: paired([1, 2], [1, 2, 3]), r"others \(=3 values\) must be as many as values \(=2\), to pair them"),
        (lambda: intervals.holm({"a": 1.5}), r"p_values\['a'\] \(=1.5\) must be a finite number at least 0 and at"),
    ]
    assert_refused(lambda call: call(), rows)
