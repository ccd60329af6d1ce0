import math

import pytest

from resnest_edu.arguments import (
    first_line,
    require_divisible,
    require_in_range,
    require_one_of,
    require_positive_int,
    require_probability,
)


@pytest.mark.parametrize("value", [0, -1, 2.0, "2", None, True, math.nan])
def test_positive_int_names_the_argument_and_the_value(value):
    with pytest.raises(ValueError, match=r"width \(=.*\) must be an integer of at least 1") as caught:
        require_positive_int(width=value)
    assert repr(value) in str(caught.value)


def test_good_values_pass():
    require_positive_int(width=1, height=7)
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


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, "0.5", None, True])
def test_in_range(value):
    with pytest.raises(ValueError, match=r"rate \(=.*\) must be a finite number at least 0 and at most 1"):
        require_in_range("rate", value, 0, 1)


def test_open_lower_end():
    with pytest.raises(ValueError, match=r"rate \(=0\) must be a finite number greater than 0"):
        require_in_range("rate", 0, 0, open_low=True)


@pytest.mark.parametrize(
    ("value", "constraint"), [(1, "be below 1"), (1.0, "be below 1"), (-0.1, "be a finite number at")]
)
def test_probability(value, constraint):
    with pytest.raises(ValueError, match=rf"dropout \(=.*\) must {constraint}"):
        require_probability(stochastic_depth=0.5, dropout=value)


@pytest.mark.parametrize("value", ["c", "", None, 1])
def test_one_of(value):
    with pytest.raises(ValueError, match=r"norm \(=.*\) must be one of a, 8$") as caught:
        require_one_of("norm", value, iter(("a", 8)))
    assert f"(={value!r})" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "line"),
    [(KeyError("  a\nb"), "'  a\\nb'"), (ValueError("\n one\ntwo"), "one"), (EOFError(), "EOFError")],
)
def test_first_line_of_an_error(error, line):
    assert first_line(error) == line
