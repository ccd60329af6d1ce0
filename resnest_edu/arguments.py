"""Checks of arguments at the boundary, so that bad input fails before any work and says what was wrong with it.

Every message has one form: the argument's name, its value, the constraint. Where another library found the fault, its
own words are made to fit.
"""

import argparse
import difflib
import importlib
import math
import numbers
from collections.abc import Iterable
from typing import Any, NoReturn


class CommandLine(argparse.ArgumentParser):
    """A parser that says in one line what is wrong, as any other error of ours is said."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def plain(value: Any) -> Any:
    """Python's own number for one of NumPy's, or for an array or tensor without dimensions; else the value itself."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def require_int(least: int, /, **arguments: int) -> None:
    """Raise ValueError unless every keyword argument is an integer of at least ``least``."""
    for name, value in arguments.items():
        number = plain(value)
        if isinstance(number, bool) or not isinstance(number, numbers.Integral) or number < least:
            raise ValueError(f"{name} (={value!r}) must be an integer of at least {least}")


def require_positive_int(**arguments: int) -> None:
    """Raise ValueError unless every keyword argument is an integer of at least 1."""
    require_int(1, **arguments)


def require_divisible(name: str, value: int, divisor_name: str, divisor: int) -> None:
    """Raise ValueError unless ``value`` is a multiple of ``divisor``."""
    if value % divisor:
        raise ValueError(f"{name} (={value}) must be divisible by {divisor_name} (={divisor})")


def require_in_range(name: str, value: float, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    """Raise ValueError unless ``value`` is a finite number in [low, high], or (low, high] if ``open_low``."""
    number = plain(value)
    valid = isinstance(number, numbers.Real) and not isinstance(number, bool) and math.isfinite(number)
    if not valid or number > high or number < low or (open_low and number == low):
        at_least = f"greater than {low}" if open_low else f"at least {low}"
        at_most = "" if high == math.inf else f" and at most {high}"
        raise ValueError(f"{name} (={value!r}) must be a finite number {at_least}{at_most}")


def require_probability(**arguments: float) -> None:
    """Raise ValueError unless every keyword argument is a number in [0, 1)."""
    for name, value in arguments.items():
        require_in_range(name, value, 0, 1)
        if value == 1:
            raise ValueError(f"{name} (=1) must be below 1")


def require_one_of(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``; the message guesses which was meant."""
    choices = list(choices)
    if value not in choices:
        listed = [str(choice) for choice in choices]
        raise ValueError(f"{name} (={value!r}) must be one of {', '.join(listed)}{did_you_mean(value, listed)}")


def did_you_mean(value: object, choices: Iterable[str]) -> str:
    """The end of a message: the nearest of the choices, if one is near; ResNeSt-50 is near resnest50."""
    near = difflib.get_close_matches(str(value).lower(), list(choices), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def first_line(error: Exception) -> str:
    """What an error from a library says, short enough to go into one of ours."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def require_extra(*modules: str) -> None:
    """Raise ImportError, saying what to install, unless all of the modules can be imported."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImportError(f"this needs {module}: pip install {' '.join(modules)}") from error
