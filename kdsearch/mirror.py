"""Optuna's samplers, asked over a study in memory that mirrors the database.

Why in memory: an ask costs a quarter of what it costs on SQLite; a proposal that is thrown away as a duplicate leaves
no trial behind; and a trial that waits can stand as complete with its results so far, though `tell` is final: the
mirror is made anew when they change. A sampler by name is made anew for each ask, seeded from the study's seed and the
trial's number, so that a continued study proposes what an undisturbed one would.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from kdsearch.history import Tried, front
from kdsearch.mistakes import Mistake
from kdsearch.screening import Candidate
from kdsearch.seeds import derive
from kdsearch.space import Choose, Scalar
from kdsearch.study import OBJECTIVES, Study

_PATIENT_ASKS = 20
"""Asks of the study's sampler that may give duplicates for one trial, before uniform draws take its place."""
_PART = 1000
"""A mirror of twice as many trials is cut down to the front and the latest of them."""


class Mirror:
    """The study in memory. `tell` hears once that a long history is used in part."""

    def __init__(self, study: Study, past: Sequence[Tried], tell: Callable[[str], None]) -> None:
        self._study = study
        self._tell = tell
        self._cut = 0
        self._shown: dict[int, Tried] = {}
        self._make(past)

    def ask(self, number: int, attempt: int, history: Sequence[Tried], fixed: Mapping[str, Any] | None) -> optuna.Trial:
        """A trial to run the space with; `fixed` parameters are given where the space asks for them."""
        if self._stale or self._cut_of(len(history)) != self._cut:
            self._make(history)
        if fixed is not None:
            self._memory.enqueue_trial(dict(fixed))
        self._memory.sampler = self._sampler(number, attempt)
        return self._memory.ask()

    def refuse(self, trial: optuna.Trial) -> None:
        """The trial will not be run: samplers do not look at failures."""
        self._memory.tell(trial.number, state=TrialState.FAIL)

    def constrain(self, trial: optuna.Trial, candidate: Candidate) -> dict[str, Any]:
        """Let the sampler learn what cannot work: at most 0 is feasible. Gives the attributes to be stored."""
        if self._study.max_parameters is not None:
            trial.set_constraint("max_parameters", candidate.excess)
        impossible = candidate.reason is not None and candidate.excess <= 0
        trial.set_constraint("impossible", 1.0 if impossible else 0.0)
        return dict(self._storage.get_trial(self._trial_id(trial.number)).system_attrs)

    def accepted(self, trial: Tried, place: int) -> None:
        """The asked trial number `place` of the mirror became `trial` of the database."""
        self._places[trial.number] = place
        self._shown[trial.number] = trial

    def told(self, trial: Tried) -> None:
        """`trial` has changed: it ended, or shows more of its results."""
        before = self._shown.get(trial.number)
        if before is None:
            return  # cut off
        self._shown[trial.number] = trial
        if before.shown == TrialState.RUNNING:
            self._memory.tell(self._places[trial.number], values=trial.values, state=trial.shown)
        elif (before.shown, before.values) != (trial.shown, trial.values):
            self._stale = True

    def _make(self, history: Sequence[Tried]) -> None:
        self._cut = self._cut_of(len(history))
        shown = [trial for trial in history if trial.number >= self._cut]
        if self._cut:
            shown = [*front((t for t in history if t.number < self._cut), self._study.objectives), *shown]
            self._tell(f"from {2 * _PART} trials on the sampler learns from the front and the latest {_PART} or more")
        self._shown = {trial.number: trial for trial in shown}
        self._places = {trial.number: place for place, trial in enumerate(shown)}
        self._storage = InMemoryStorage()
        directions = [OBJECTIVES[name].direction for name in self._study.objectives]
        self._memory = optuna.create_study(directions=directions, storage=self._storage)
        self._id = self._storage.get_study_id_from_name(self._memory.study_name)
        self._memory.add_trials([trial.frozen() for trial in shown])
        self._stale = False

    def _cut_of(self, trials: int) -> int:
        """The first trial that is shown without being on the front: a step function, so that mirrors last for long."""
        return (trials // _PART - 1) * _PART if trials >= 2 * _PART else 0

    def _trial_id(self, place: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, place)

    def _sampler(self, number: int, attempt: int) -> BaseSampler:
        seed = derive(self._study.seed, "sampler", number, attempt) % 2**32
        if attempt >= _PATIENT_ASKS:
            return RandomSampler(seed=seed)
        match self._study.sampler:
            case "tpe":
                return TPESampler(seed=seed)
            case "nsga2":
                return NSGAIISampler(seed=seed)
            case "random":
                return RandomSampler(seed=seed)
            case sampler:
                assert isinstance(sampler, BaseSampler)
                return sampler


def suggest(trial: optuna.Trial) -> Choose:
    """Values as Optuna's trial suggests them."""

    def choose(name: str, distribution: BaseDistribution) -> Scalar:
        match distribution:
            case FloatDistribution(low=low, high=high, step=step, log=log):
                return trial.suggest_float(name, low, high, step=step, log=log)
            case IntDistribution(low=low, high=high, step=step, log=log):
                return trial.suggest_int(name, low, high, step=step, log=log)
            case CategoricalDistribution(choices=choices):
                chosen: Scalar = trial.suggest_categorical(name, choices)
                return chosen
        raise Mistake(f"parameter {name!r}: {distribution} is not one of float, int and categorical")

    return choose
