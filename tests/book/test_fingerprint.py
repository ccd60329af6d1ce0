import ast
import hashlib

import pytest

from resnest_edu.book import fingerprint as fingerprints
from resnest_edu.book.fingerprint import fingerprint

ALPHA = """
from resnest_edu.beta import helper

def run(x):
    if x < 0:
        raise ValueError(f"x (={x}) must be at least 0")
    return helper(x)
"""
BETA = """
def helper(x):
    return x + STEP

STEP = 1

def other(x):
    return -x
"""


@pytest.fixture
def code(monkeypatch):
    """A package of two modules whose sources the test may change."""
    sources = {"resnest_edu.alpha": ALPHA, "resnest_edu.beta": BETA}
    monkeypatch.setattr(fingerprints, "_source", sources.get)
    return sources


def replace(code, module, old, new):
    assert old in code[module]
    code[module] = code[module].replace(old, new)


def test_what_may_change_a_figure_counts_and_nothing_else(code):
    before = fingerprint("resnest_edu.alpha")
    for module, old, new, counts in [
        ("alpha", "x < 0", "x < 1", True),
        ("alpha", "ValueError(", "TypeError(", True),
        ("alpha", "helper(x)\n", "helper(x)\n\nrun(1)\n", True),
        ("beta", "x + STEP", "x - STEP", True),
        ("beta", "STEP = 1", "STEP = 2", True),
        ("beta", "STEP = 1", "STEP: float = 1", True),
        ("beta", "def helper(x)", "@cache\ndef helper(x)", True),
        ("alpha", "    if", '    """Run."""\n    # so\n    if', False),
        ("alpha", "must be at least 0", "may not be negative", False),
        ("alpha", "import helper", "import helper, other", False),
        ("alpha", "\ndef run", "\nif TYPE_CHECKING:\n    from torch import Tensor\n\ndef run", False),
        ("beta", "return -x", "return 2 * x", False),  # not used
        ("beta", "STEP = 1\n", "__all__ = ['helper']\nSTEP = 1\n", False),
    ]:
        code.update({"resnest_edu.alpha": ALPHA, "resnest_edu.beta": BETA})
        replace(code, f"resnest_edu.{module}", old, new)
        assert (fingerprint("resnest_edu.alpha") != before) == counts, new


def test_a_definition_may_move_and_be_imported_under_another_name(code):
    before = fingerprint("resnest_edu.alpha")
    replace(code, "resnest_edu.beta", "\nSTEP = 1\n", "from resnest_edu.gamma import STEP\n")
    code["resnest_edu.gamma"] = "STEP = 1\n"
    assert fingerprint("resnest_edu.alpha") == before
    replace(code, "resnest_edu.gamma", "1", "2")
    assert fingerprint("resnest_edu.alpha") != before

    code.update({"resnest_edu.alpha": ALPHA, "resnest_edu.beta": BETA})
    replace(code, "resnest_edu.alpha", "import helper", "import helper as assistant")
    replace(code, "resnest_edu.alpha", "return helper", "return assistant")
    renamed = fingerprint("resnest_edu.alpha")
    replace(code, "resnest_edu.beta", "STEP = 1", "STEP = 2")
    assert fingerprint("resnest_edu.alpha") != renamed


def test_it_is_the_same_on_every_python():
    """The hash of this text was found to be the same on Python 3.10 to 3.13."""
    source = """
@decorator(option=True)
class Thing(Base):
    x: int = 0
    async def f(self, *a, b=1.5e-3, **c):
        return [*a, {**c}, 1j, await self]

def g(x, /, y: "str" = None, *, z) -> None:
    global COUNT
    with open(x) as file, other:
        while not (line := file.readline()) or y[1:2, ...] is not None:
            del z
    try:
        match x:
            case [1, *rest] | {"a": Point(x=0)} if rest: pass
    except OSError as error:
        print(f"{x!r:>{y}.2f} 'and' more" f"{y}", b"bytes", "one" "two", -(3 ** 2), a < b <= c)
        print(f"{x:{y}}", f"{x:>{y}}", f"")
    return lambda: (yield)
"""
    text = fingerprints._text(ast.parse(source).body)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "8a68cab9b75da985"


def test_of_a_real_experiment():
    source = fingerprints._source("resnest_edu.book.experiments.shapes_seeds")
    names = {getattr(statement, "name", "") for _, statement in fingerprints.reached(source)}
    assert {"run_seed", "train", "RadixMajorSplitAttention", "draw_scenes"} <= names
    assert not {"BookFigure", "SqueezeExcitation", "show_source"} & names
    with pytest.raises(ValueError, match=r"module \(='resnest_edu.nothing'\) must be a module"):
        fingerprint("resnest_edu.nothing")
