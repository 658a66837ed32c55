"""What became of the trials so far, as samplers look at it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from kdsearch import pareto
from kdsearch.study import signs


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A trial of the database. `known` are the figures that need no training, empty where the space itself failed.

    `values` are its objectives: measured, or as far as it has shown them where it is RUNNING or was stopped (PRUNED).
    A PRUNED trial without values was screened.
    """

    number: int
    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    state: TrialState
    known: Mapping[str, float] = field(default_factory=dict)
    system_attrs: Mapping[str, Any] = field(default_factory=dict)
    values: tuple[float, ...] | None = None

    @classmethod
    def of(cls, trial: FrozenTrial) -> "Tried":
        return cls(
            number=trial.number,
            params=trial.params,
            distributions=trial.distributions,
            state=trial.state,
            known=trial.user_attrs.get("known", {}),
            system_attrs=trial.system_attrs,
            values=_values(trial),
        )

    @property
    def trained(self) -> bool:
        """Whether it was, or is, worth an epoch: neither screened nor broken."""
        return bool(self.known) and not (self.state == TrialState.PRUNED and self.values is None)

    @property
    def shown(self) -> TrialState:
        """The state that Optuna's samplers are to see: with values it is complete."""
        return self.state if self.values is None else TrialState.COMPLETE

    def frozen(self) -> FrozenTrial:
        """The trial as Optuna's samplers are to see it."""
        return create_trial(
            state=self.shown,
            params=dict(self.params),
            distributions=dict(self.distributions),
            system_attrs=dict(self.system_attrs),
            values=list(self.values) if self.values is not None else None,
        )


def _values(trial: FrozenTrial) -> tuple[float, ...] | None:
    """Its objectives; those of a stopped trial as far as it had shown them."""
    values = trial.values if trial.values is not None else trial.user_attrs.get("standing")
    return tuple(values) if values is not None else None


def front(trials: Iterable[Tried], objectives: Sequence[str]) -> list[Tried]:
    """The non-dominated ones of those that are complete."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        return []
    points = np.array([trial.values for trial in complete], dtype=float) * signs(objectives)
    return [complete[index] for index in pareto.front(points)]
