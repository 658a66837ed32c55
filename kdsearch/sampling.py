"""Proposals: what to try next. Optuna's samplers are asked over a study in memory that mirrors the database.

Why in memory: an ask costs a quarter of what it costs on SQLite, and a proposal that is thrown away as a duplicate
leaves no trial behind in the database. A sampler by name is made anew for each ask, seeded from the study's seed and
the trial's number, so that a continued study proposes what an undisturbed one would.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from kdsearch.mistakes import Mistake
from kdsearch.screening import Candidate, Screen
from kdsearch.seeds import derive
from kdsearch.space import Choose, Scalar, draw, run_space
from kdsearch.study import OBJECTIVES, Study

_PATIENT_ASKS = 20
"""Asks of the study's sampler that may give duplicates for one trial, before uniform draws take its place."""
_ASKS = 500
"""Asks for one trial, after which the space counts as exhausted."""

STRONG_DEFAULT = {"start": "none", "temperature": 4.0, "alpha": 0.9}
"""One good setting is near-best broadly (arXiv:2401.06356); a search that does not beat it has found nothing."""


@dataclass(frozen=True)
class Proposal:
    """A candidate with the parameters that gave it; `proposed` is the fingerprint of the recipe as the space gave it.

    `token` names it to `Proposals.told`.
    """

    candidate: Candidate
    known: dict[str, float]
    proposed: str
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    system_attrs: dict[str, Any]
    token: int


class BrokenProposalError(Exception):
    """The study's space, or its student, is wrong or raises on these parameters; the study can go on with others."""

    def __init__(
        self, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution], error: Mistake
    ) -> None:
        super().__init__(str(error))
        self.params = dict(params)
        self.distributions = dict(distributions)
        self.error = error


class ExhaustedError(Exception):
    """No new recipe was found in `_ASKS` asks."""


class Proposals:
    """Asks the study's sampler, and tells it what became of each proposal. `past` are the database's trials."""

    def __init__(self, study: Study, screen: Screen, past: Sequence[FrozenTrial]) -> None:
        self._study = study
        self._screen = screen
        self._seen = {trial.user_attrs["fingerprint"] for trial in past if "fingerprint" in trial.user_attrs}
        self._storage = InMemoryStorage()
        directions = [OBJECTIVES[name].direction for name in study.objectives]
        self._memory = optuna.create_study(directions=directions, storage=self._storage)
        self._id = self._storage.get_study_id_from_name(self._memory.study_name)
        self._memory.add_trials(past)
        self._tokens = {trial.number: token for token, trial in enumerate(past)}
        self._first = [dict(params) for params in first_of(study)][len(past) :]

    def propose(self, number: int) -> Proposal:
        """A proposal that no trial had before, for trial `number`; its candidate may have a reason to be screened.

        Raises `ExhaustedError`, and `BrokenProposalError` for what is wrong with this proposal alone.
        """
        attempt = 0
        while attempt < _ASKS:
            if self._first:
                self._memory.enqueue_trial(self._first.pop(0))
            else:
                attempt += 1
            self._memory.sampler = self._sampler(number, attempt)
            trial = self._memory.ask()
            try:
                recipe, recorded = run_space(self._study.space, _from_optuna(trial))
                candidate = self._screen(recipe)
                new = candidate.recipe.fingerprint() not in self._seen
                known = self._screen.known(candidate) if new else {}
            except Mistake as error:
                self._memory.tell(trial.number, state=TrialState.FAIL)
                raise BrokenProposalError(trial.params, trial.distributions, error) from error
            if new:
                self._seen.add(candidate.recipe.fingerprint())
                self._constrain(trial, candidate)
                attrs = self._storage.get_trial(self._trial_id(trial.number)).system_attrs
                return Proposal(
                    candidate,
                    known,
                    recipe.fingerprint(),
                    recorded.params,
                    recorded.distributions,
                    dict(attrs),
                    trial.number,
                )
            self._memory.tell(trial.number, state=TrialState.FAIL)  # a duplicate: samplers do not look at failures
        raise ExhaustedError(f"{_ASKS} proposals in a row were repeats: the space holds no more than it has given")

    def accepted(self, number: int, token: int) -> None:
        """The proposal `token` became trial `number` of the database."""
        self._tokens[number] = token

    def told(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        """What became of trial `number`."""
        self._memory.tell(self._tokens[number], values=values, state=state)

    def standing(self, number: int, values: Sequence[float]) -> None:
        pass

    def continued(self, pruned: int, number: int) -> None:
        self._tokens[number] = self._tokens[pruned]

    def _trial_id(self, token: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, token)

    def _constrain(self, trial: optuna.Trial, candidate: Candidate) -> None:
        """Let the sampler learn what cannot work: at most 0 is feasible."""
        if self._study.max_parameters is not None:
            trial.set_constraint("max_parameters", candidate.excess)
        impossible = candidate.reason is not None and candidate.excess <= 0
        trial.set_constraint("impossible", 1.0 if impossible else 0.0)

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


def first_of(study: Study) -> list[Mapping[str, Any]]:
    """The parameters to try first: the study's own, or the strong default where the space has parameters so named."""
    if study.first is not None:
        return list(study.first)
    try:
        _, trial = run_space(study.space, _preferring(STRONG_DEFAULT))
    except Mistake:
        return []  # the space has no such value; its author names defaults with first=
    strong = {name: value for name, value in STRONG_DEFAULT.items() if name in trial.params}
    return [strong] if strong else []


def check_first(study: Study, screen: Screen) -> int:
    """How many of the recipes to try first are given whole and can work.

    Raises `Mistake` where their parameters are unknown to the space, out of range or cannot work.
    """
    possible = 0
    for params in first_of(study):
        recipe, trial = run_space(study.space, _preferring(params))
        if unknown := set(params) - set(trial.params):
            raise Mistake(
                f"first: the space does not suggest {', '.join(sorted(unknown))} with {dict(params)}; "
                f"it suggests {', '.join(trial.params)}"
            )
        if len(params) == len(trial.params):
            if (reason := screen(recipe).reason) is not None:
                raise Mistake(f"first: {dict(params)} cannot work: {reason}")
            possible += 1
    return possible


def _preferring(params: Mapping[str, Any]) -> Choose:
    otherwise: Callable[[str, BaseDistribution], Scalar] = draw(0)
    return lambda name, distribution: params[name] if name in params else otherwise(name, distribution)


def _from_optuna(trial: optuna.Trial) -> Choose:
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
