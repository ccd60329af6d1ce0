"""Checks of arguments at the boundary, so that bad input fails before any work and says what was wrong with it.

Every message has one form: the argument's name, its value, the constraint.
"""

import math


def require_positive_int(**arguments: int) -> None:
    """Raise ValueError unless every keyword argument is an integer of at least 1."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} (={value!r}) must be an integer of at least 1")


def require_divisible(name: str, value: int, divisor_name: str, divisor: int) -> None:
    """Raise ValueError unless ``value`` is a multiple of ``divisor``."""
    if value % divisor:
        raise ValueError(f"{name} (={value}) must be divisible by {divisor_name} (={divisor})")


def require_in_range(name: str, value: float, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    """Raise ValueError unless ``value`` is a finite number in [low, high], or (low, high] if ``open_low``."""
    valid = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not valid or value > high or value < low or (open_low and value == low):
        at_least = f"greater than {low}" if open_low else f"at least {low}"
        at_most = "" if high == math.inf else f" and at most {high}"
        raise ValueError(f"{name} (={value!r}) must be a finite number {at_least}{at_most}")
