"""Parameters as numbers that a model of accuracy can compare: one row of fixed length for any parameters of a space."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

from kdsearch.mistakes import Mistake
from kdsearch.space import Space, draw, run_space, to_unit

_DRAWS = 128
_MARGIN = 0.002
_CHOICE = 0.7
"""A choice's column, so that two choices lie as far apart as the ends of a number's range."""
_CONDITIONAL = 0.5
"""Weight of a number that is not always there: it sets apart only those trials that have it."""


class Features:
    """The layout of a space's parameters, read from draws of it, so that it never depends on what was tried.

    A number has one column in [0, 1] (on its log scale where it has one), as has a categorical of numbers, in their
    order; any other categorical has one column a choice. Conditional parameters that are not there stand in the middle
    of their range; whether they are there follows from other columns, or has a column of its own. A parameter that
    not one of the draws had is left out, as is one with a single value.
    """

    def __init__(self, space: Space) -> None:
        drawn: list[dict[str, Any]] = []
        self._distributions: dict[str, BaseDistribution] = {}
        for seed in range(_DRAWS):
            try:
                _, trial = run_space(space, draw(seed))
            except Mistake:
                continue  # the space is wrong on these values alone; whoever proposes them is told
            self._distributions |= {k: d for k, d in trial.distributions.items() if not d.single()}
            drawn.append(trial.params)
        self._always = {name for name in self._distributions if all(name in params for params in drawn)}
        self._indicated = self._without_column(drawn)
        self._scales = {name: _numbers(distribution) for name, distribution in self._distributions.items()}

    def __call__(self, params: Mapping[str, Any]) -> NDArray[np.float64]:
        """The columns (F,) for `params`."""
        row: list[float] = []
        for name, distribution in self._distributions.items():
            weight = 1.0 if name in self._always else _CONDITIONAL
            if (scale := self._scales[name]) is not None:
                unit = _position(distribution, scale, params[name]) if name in params else 0.5
                row.append(weight * unit)
            else:
                assert isinstance(distribution, CategoricalDistribution)
                chosen = params.get(name, self)  # no choice equals the layout itself
                row += [weight * _CHOICE * _is(choice, chosen) for choice in distribution.choices]
        return np.array(row + [_CHOICE * (name in params) for name in self._indicated])

    def _without_column(self, drawn: list[dict[str, Any]]) -> list[str]:
        """The conditional parameters whose presence no choice's column and no other parameter's presence tells."""
        told: set[tuple[bool, ...]] = set()
        indicated = []
        for name, distribution in self._distributions.items():
            there = tuple(name in params for params in drawn)
            if not all(there) and there not in told:
                indicated.append(name)
            told.add(there)
            if isinstance(distribution, CategoricalDistribution):
                told |= {tuple(_is(choice, params.get(name)) for params in drawn) for choice in distribution.choices}
        return indicated


def _numbers(distribution: BaseDistribution) -> list[float] | None:
    """The ordered choices of a categorical of numbers, an empty list for a number, None for anything else."""
    if not isinstance(distribution, CategoricalDistribution):
        return []
    if any(isinstance(choice, bool) or not isinstance(choice, (int, float)) for choice in distribution.choices):
        return None
    return sorted(float(choice) for choice in distribution.choices if isinstance(choice, (int, float)))


def _position(distribution: BaseDistribution, scale: list[float], value: Any) -> float:
    return scale.index(float(value)) / (len(scale) - 1) if scale else to_unit(distribution, value)


def _is(choice: Any, chosen: Any) -> bool:
    return type(choice) is type(chosen) and bool(choice == chosen)


def logit_of(share: float) -> float:
    """The logit of an accuracy in [0, 1], drawn in a little so that 0 and 1 are finite: about +-6.2."""
    return math.log((share + _MARGIN) / (1 - share + _MARGIN))
