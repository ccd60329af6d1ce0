"""What a handful of runs can tell: intervals for the mean, paired tests, and what many tests at once ask for.

For the pages, which compute all this from recorded runs. SciPy comes with the extra ``book``; where experiments are
recorded it need not be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from resnest_edu.arguments import require_in_range


@dataclass(frozen=True)
class Interval:
    """A mean, and the ends of its confidence interval.

    Attributes:
        mean: of the runs.
        low: the lower end.
        high: the upper end.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedTest:
    """How far one list lies above another, pair by pair, and how likely chance alone would take them so far apart.

    Attributes:
        difference: the mean difference with its interval.
        p: the two-sided p-value of no difference.
    """

    difference: Interval
    p: float


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """The mean of independent runs with its interval by Student's t.

    Were the experiment repeated with new seeds again and again, a share ``confidence`` of such intervals would hold the
    true mean, if the runs are spread normally.

    Args:
        values: one number a run, two or more.
        confidence: between 0 and 1.

    Raises:
        ValueError: there are fewer than two values, and so no spread, or the confidence is out of range.
    """
    from scipy import stats

    if len(values) < 2:
        raise ValueError(f"values (={list(values)}) must be at least two, or there is no spread")
    require_in_range("confidence", confidence, 0, 1, open_low=True)
    if confidence == 1:
        raise ValueError("confidence (=1) must be below 1")
    count = len(values)
    reach = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * stdev(values) / count**0.5
    return Interval(mean(values), mean(values) - reach, mean(values) + reach)


def paired_test(values: Sequence[float], others: Sequence[float], *, confidence: float = 0.95) -> PairedTest:
    """Student's t-test, two-sided, of the differences ``values`` − ``others``, paired by seed.

    What the seed does to both alike cancels in the difference, so fewer runs suffice than for two separate means.

    Args:
        values: one number a seed.
        others: likewise, for the same seeds in the same order.
        confidence: of the interval of the mean difference.

    Raises:
        ValueError: the lists differ in length, or are too short for a spread.
    """
    from scipy import stats

    if len(values) != len(others):
        raise ValueError(f"others (={len(others)} values) must be as many as values (={len(values)}), to pair them")
    differences = [one - other for one, other in zip(values, others, strict=True)]
    difference = mean_interval(differences, confidence=confidence)
    if difference.low == difference.high:  # all differ by the same: no spread, so there is no t
        return PairedTest(difference, p=float(difference.mean == 0))
    return PairedTest(difference, p=float(stats.ttest_1samp(differences, 0).pvalue))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Correct the p-values of several tests made at once by Holm's step-down method; by name, in the order given.

    Among twenty tests of nothing, one has p < 0.05 on average. If only what is below 0.05 after the correction counts,
    the chance that any of the tests misleads is at most 0.05, however they depend on each other. The smallest of m
    p-values is multiplied by m, the next by m - 1, and so on, each is at least the one before, and none above 1.

    Args:
        p_values: of every test, by name.

    Raises:
        ValueError: a p-value is not in [0, 1].
    """
    for name, p in p_values.items():
        require_in_range(f"p_values[{name!r}]", p, 0, 1)
    corrected: dict[str, float] = {}
    largest = 0.0
    for step, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[name]))
        corrected[name] = largest
    return {name: corrected[name] for name in p_values}
