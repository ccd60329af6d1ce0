"""The learning rate as a pure function of the step, so that it can be drawn, tested and resumed."""

import math


def learning_rate(
    step: int,
    *,
    peak: float,
    warmup_steps: int,
    total_steps: int,
) -> float:
    """Linear warm-up from 0, then half a cosine down to 0.

    Warm-up as in Goyal et al. (arXiv:1706.02677), cosine as in Loshchilov and Hutter (arXiv:1608.03983). ``step`` is
    the one about to be taken, from 0; the rate is ``peak`` at ``warmup_steps``, and at ``total_steps`` down to 0 again.

    Raises:
        ValueError: the steps are not 0 <= warmup_steps < total_steps and 0 <= step <= total_steps.

    Example:
        >>> from resnest_edu.training.schedule import learning_rate
        >>> plan = {"peak": 1.0, "warmup_steps": 2, "total_steps": 6}
        >>> [round(learning_rate(step, **plan), 3) for step in range(7)]
        [0.0, 0.5, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    if not 0 <= warmup_steps < total_steps:
        allowed = f"at least 0 and below total_steps (={total_steps})"
        raise ValueError(f"warmup_steps (={warmup_steps}) must be {allowed}")
    _require_step(step, total_steps)
    if step < warmup_steps:
        return peak * step / warmup_steps
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return peak * (1 + math.cos(math.pi * progress)) / 2


def ramp(step: int, *, end: float, total_steps: int) -> float:
    """From 0 to ``end`` in proportion to the step: how DropBlock comes in (Ghiasi et
    al., arXiv:1810.12890).

    Raises:
        ValueError: the steps are not 0 <= step <= total_steps, or ``total_steps`` is 0.
    """
    if total_steps < 1:
        raise ValueError(f"total_steps (={total_steps}) must be at least 1")
    _require_step(step, total_steps)
    return end * step / total_steps


def _require_step(step: int, total_steps: int) -> None:
    if not 0 <= step <= total_steps:
        raise ValueError(f"step (={step}) must be at least 0 and at most total_steps (={total_steps})")
