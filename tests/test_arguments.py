import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch

from resnest_edu.arguments import (
    first_line,
    require_divisible,
    require_in_range,
    require_one_of,
    require_positive_int,
    require_probability,
)
from tests.refused import assert_refused


def test_positive_int_names_the_argument_and_the_value():
    bad = [0, -1, 2.0, "2", None, True, math.nan, np.int64(0), np.float32(2), np.True_, np.array([2]), np.uint8(0)]
    bad += [torch.tensor(True), torch.tensor([2]), torch.tensor(2.0)]
    rows = [(value, re.escape(f"width (={value!r}) must be an integer of at least 1")) for value in bad]
    assert_refused(lambda value: require_positive_int(width=value), rows)


def test_good_values_pass():
    require_positive_int(width=1, height=7)
    require_positive_int(width=np.int64(1), height=np.uint8(7), depth=np.array(2), length=torch.tensor(3))
    for number in (np.float32(0.5), np.float64(1), np.int16(1), np.array(0.5), torch.tensor(0.5), Fraction(1, 2)):
        require_in_range("rate", number, 0, 1)
    require_probability(dropout=np.float32(0.5))
    require_divisible("channels", 12, "reduction", 4)
    require_in_range("rate", 0, 0, 1)
    require_in_range("rate", 1, 0, 1)
    require_in_range("rate", 1e9, 0)
    require_probability(dropout=0, dropblock=0.99)
    require_one_of("norm", "b", ("a", "b"))
    require_one_of("norm", "b", {"b": 1})
    require_one_of("norm", "b", iter("ab"))


def test_divisible():
    with pytest.raises(ValueError, match=r"channels \(=30\) must be divisible by reduction \(=4\)"):
        require_divisible("channels", 30, "reduction", 4)


def test_ranges():
    bad = [-0.1, 1.1, math.nan, math.inf, "0.5", None, True, np.float32("nan"), np.float64("inf"), np.True_, 1j]
    bad += [torch.tensor(float("nan")), torch.tensor([0.5]), torch.tensor(False)]
    rows = [(value, r"^rate \(=.*\) must be a finite number at least 0 and at most 1$") for value in bad]
    assert_refused(lambda value: require_in_range("rate", value, 0, 1), rows)
    rows = [(0, r"rate \(=0\) must be a finite number greater than 0")]
    assert_refused(lambda value: require_in_range("rate", value, 0, open_low=True), rows)
    rows = [(1, "be below 1"), (1.0, "be below 1"), (np.float32(1), "be below 1"), (-0.1, "be a finite number at")]
    rows = [(value, rf"dropout \(=.*\) must {constraint}") for value, constraint in rows]
    assert_refused(lambda value: require_probability(stochastic_depth=0.5, dropout=value), rows)


def test_one_of():
    rows = [(value, rf"norm \(={value!r}\) must be one of a, 8, mask$") for value in ("c", "", None, 1)]
    rows.append(("MASK", "; did you mean mask\\?$"))
    assert_refused(lambda value: require_one_of("norm", value, iter(("a", 8, "mask"))), rows)


def test_first_line_of_an_error():
    errors = KeyError("  a\nb"), ValueError("\n one\ntwo"), EOFError()
    assert [first_line(error) for error in errors] == ["'  a\\nb'", "one", "EOFError"]
