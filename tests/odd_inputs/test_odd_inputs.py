"""Three hundred odd inputs: each is read right, or refused in one line that names the cause."""

import re
import resource
import time
import warnings
from pathlib import Path

import pytest

from tests.odd_inputs.coco import coco
from tests.odd_inputs.folders import folders
from tests.odd_inputs.odd import Family, Odd
from tests.odd_inputs.own import own
from tests.odd_inputs.runs import runs
from tests.odd_inputs.voc import voc
from tests.odd_inputs.weights import weights

FAMILIES = (folders, coco, voc, weights, runs, own)
FEW, MANY = range(5), range(5, 50)
SECONDS, KILOBYTES = 60, 1 << 20


def verdict(family: Family, number: int, folder: Path) -> str:
    """What is wrong with what came of an input; nothing if it is as it must be."""
    folder.mkdir()
    trial = family(number, folder)
    memory, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    what = f"{family.__name__} {number} ({trial.name}): "
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial.attempt()
    except (ValueError, OSError) as error:
        said = str(error)
        if "\n" in said.strip() or not any(re.search(cause, said) for cause in trial.causes):
            return f"{what}{type(error).__name__}: {said}"
    except Odd as wrong:
        return f"{what}{wrong}"
    except Exception as error:
        return f"{what}{type(error).__name__} instead of ValueError: {error}"
    else:
        if trial.fatal:
            return f"{what}not refused"
    if time.perf_counter() - started > SECONDS:
        return f"{what}took longer than {SECONDS} s"
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory > KILOBYTES:
        return f"{what}took more than 1 GB"
    return ""


@pytest.mark.parametrize(
    ("family", "numbers"),
    [
        *[pytest.param(family, FEW, id=family.__name__) for family in FAMILIES],
        *[pytest.param(family, MANY, id=f"{family.__name__}, all", marks=pytest.mark.slow) for family in FAMILIES],
    ],
)
def test_odd_input_is_read_right_or_refused_by_its_cause(family: Family, numbers: range, tmp_path: Path) -> None:
    wrong = [verdict(family, number, tmp_path / str(number)) for number in numbers]
    assert not any(wrong), "\n" + "\n".join(filter(None, wrong))
