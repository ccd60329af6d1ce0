import math

import pytest

from resnest_edu.training.schedule import learning_rate, ramp

RUN = {"peak": 0.5, "warmup_steps": 10, "total_steps": 110}


def test_warm_up_is_linear_from_zero():
    assert [learning_rate(step, **RUN) for step in (0, 5, 10)] == [0, 0.25, 0.5]


def test_cosine_comes_down_to_zero():
    assert learning_rate(60, **RUN) == pytest.approx(0.25)
    assert learning_rate(35, **RUN) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)) / 2)
    assert learning_rate(110, **RUN) == pytest.approx(0)


def test_no_warm_up_starts_at_the_peak():
    assert learning_rate(0, peak=0.5, warmup_steps=0, total_steps=10) == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": -1}, r"step \(=-1\) must be at least 0 and at most total_steps \(=110\)"),
        ({"step": 111}, r"step \(=111\) must be"),
        ({"warmup_steps": 110}, r"warmup_steps \(=110\) must be at least 0 and below total_steps \(=110\)"),
        ({"warmup_steps": -1}, r"warmup_steps \(=-1\) must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        learning_rate(**({"step": 0} | RUN | arguments))


def test_a_ramp_grows_with_the_step():
    assert [ramp(step, end=0.4, total_steps=8) for step in (0, 2, 8)] == [0, 0.1, 0.4]
    with pytest.raises(ValueError, match=r"step \(=9\) must be at least 0 and at most total_steps \(=8\)"):
        ramp(9, end=0.4, total_steps=8)
    with pytest.raises(ValueError, match=r"step \(=-1\) must be"):
        ramp(-1, end=0.4, total_steps=8)
    with pytest.raises(ValueError, match=r"total_steps \(=0\) must be at least 1"):
        ramp(0, end=0.4, total_steps=0)
