"""What runs on several seeds say: means, differences and verdicts, with 95 % intervals. Pure; SciPy does statistics.

A sample maps a seed to the accuracy, a fraction of the test examples, that a run with this seed had.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from statistics import fmean
from typing import Literal

CONFIDENCE = 0.95
NEGLIGIBLE = 0.002
"""Differences below 0.2 points are not worth a distillation."""

Sample = Mapping[int, float]
Verdict = Literal["better", "no better", "unclear"]
Effect = Literal["better", "worse", "no effect seen", "unclear"]
_FEWEST = 2
"""Seeds without which there is no verdict."""
_DUST = 12
"""Decimals beyond which accuracies differ by rounding alone."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over `seeds` runs and the ends of its 95 % interval, in fractions."""

    mean: float
    low: float
    high: float
    seeds: int


def mean_interval(sample: Sample, examples: int) -> Interval:
    """The mean accuracy with Student's t interval over the seeds, clipped to [0, 1].

    Where all seeds agree exactly, or there is one, there is no spread to go by: then Wilson's interval over the test
    `examples`, of which that share was right. Raises `ValueError` for an empty sample.
    """
    from scipy import stats

    values = list(sample.values())
    if not values:
        raise ValueError("an interval needs at least one run")
    mean = fmean(values)
    if len({round(value, _DUST) for value in values}) == 1:
        low, high = _wilson(mean, examples)
    else:
        low, high = stats.t.interval(CONFIDENCE, len(values) - 1, loc=mean, scale=stats.sem(values))
    return Interval(mean=mean, low=max(0.0, float(low)), high=min(1.0, float(high)), seeds=len(values))


def difference_interval(these: Sample, those: Sample, examples: int, *, among: int = 1) -> Interval:
    """The mean of `these` minus that of `those`, clipped to [-1, 1]. With `among` above 1 the interval is one of so
    many that hold together with 95 % (Bonferroni's: each by itself with more).

    Runs that share a seed are paired: seeds that only one of the two has are left out. Without two seeds in common it
    is Welch's interval of two independent samples. Where there is no spread to go by (all pairs differ alike, or there
    is one run) it is Newcombe's (1998, method 10): Wilson's intervals of both shares, joined. Raises `ValueError` for
    an empty sample.
    """
    from scipy import stats

    if not these or not those:
        raise ValueError("a difference needs at least one run on either side")
    shared = sorted(these.keys() & those.keys())
    if shared:
        these, those = ({seed: sample[seed] for seed in shared} for sample in (these, those))
    one, other = ([round(value, _DUST) for value in sample.values()] for sample in (these, those))
    mean = fmean(one) - fmean(other)
    level = 1 - (1 - CONFIDENCE) / among
    if shared:
        gaps = {round(a - b, _DUST) for a, b in zip(one, other, strict=True)}
        ends = stats.ttest_rel(one, other).confidence_interval(level) if len(gaps) > 1 else None
    else:
        spread = len(one) > 1 and len(other) > 1 and len({*one}) + len({*other}) > 2
        ends = stats.ttest_ind(one, other, equal_var=False).confidence_interval(level) if spread else None
    low, high = ends if ends is not None else _newcombe(fmean(one), fmean(other), examples, level)
    seeds = len(shared) or min(len(one), len(other))
    return Interval(mean=mean, low=max(-1.0, float(low)), high=min(1.0, float(high)), seeds=seeds)


def pooled(samples: Sequence[Sample]) -> Sample:
    """The mean over the samples, for every seed that all of them have: what stands for them as a whole."""
    shared = set.intersection(*(set(sample) for sample in samples)) if samples else set()
    return {seed: fmean(sample[seed] for sample in samples) for seed in sorted(shared)}


def verdict(difference: Interval) -> Verdict:
    """Whether what stands first is better: "better" where the lower end is above 0, "no better" where the upper end is
    below 0.2 points, else "unclear"; always so after one seed, whose own noise nothing shows.
    """
    if difference.seeds < _FEWEST:
        return "unclear"
    if difference.low > 0:
        return "better"
    return "no better" if difference.high < NEGLIGIBLE else "unclear"


def effect(difference: Interval) -> Effect:
    """What a choice did beside another: "no effect seen" where the interval holds 0, "unclear" after one seed."""
    if difference.seeds < _FEWEST:
        return "unclear"
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "no effect seen"


def _wilson(share: float, examples: int, level: float = CONFIDENCE) -> tuple[float, float]:
    from scipy import stats

    found = stats.binomtest(round(share * examples), examples).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def _newcombe(one: float, other: float, examples: int, level: float) -> tuple[float, float]:
    (low_one, high_one), (low_other, high_other) = (_wilson(share, examples, level) for share in (one, other))
    difference = one - other
    return (
        difference - hypot(one - low_one, high_other - other),
        difference + hypot(high_one - one, other - low_other),
    )
