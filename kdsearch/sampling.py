"""Proposals: what to try next, by our own sampler or one of Optuna's, and what became of what was tried."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from kdsearch.history import Tried
from kdsearch.mirror import Mirror, suggest
from kdsearch.mistakes import Mistake
from kdsearch.pool import BrokenSpaceError
from kdsearch.recipe import Recipe
from kdsearch.screening import Candidate, Screen
from kdsearch.space import Choose, RecordingTrial, Scalar, draw, run_space
from kdsearch.study import Study

if TYPE_CHECKING:
    from kdsearch.size_aware import SizeAware

_ASKS = 500
"""Asks for one trial, after which the space counts as exhausted."""

STRONG_DEFAULT = {"start": "none", "temperature": 4.0, "alpha": 0.9}
"""One good setting is near-best broadly (arXiv:2401.06356); a search that does not beat it has found nothing."""


@dataclass(frozen=True)
class Proposal:
    """A candidate with the parameters that gave it; `proposed` is the fingerprint of the recipe as the space gave it.

    `token` names it to `Proposals.accepted`.
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


def _own_sampler(
    study: Study, screen: Screen, reference: Mapping[str, float], tell: Callable[[str], None]
) -> "SizeAware":
    """A second of imports that status, report and export do without."""
    from kdsearch.size_aware import SizeAware

    return SizeAware(study, screen, reference, tell)


class Proposals:
    """Asks the study's sampler, and tells it what became of each proposal.

    `past` are the database's trials; `reference` the hypervolume's reference, by objective. `notes` are what users
    should hear of, each once; whoever tells them empties the list.
    """

    def __init__(
        self, study: Study, screen: Screen, past: Sequence[FrozenTrial], reference: Mapping[str, float]
    ) -> None:
        self.notes: list[str] = []
        self._noted: set[str] = set()
        self._study = study
        self._screen = screen
        self._seen = {trial.user_attrs["fingerprint"] for trial in past if "fingerprint" in trial.user_attrs}
        taken_up = {_continues(trial) for trial in past}
        self._tried = {trial.number: Tried.of(trial) for trial in past if trial.number not in taken_up}
        self._broken = {_written(trial.params) for trial in past if "fingerprint" not in trial.user_attrs}
        self._asked: dict[int, Proposal] = {}
        self._tokens = 0
        self._own = _own_sampler(study, screen, reference, self._note) if study.sampler == "size_aware" else None
        self._mirror = None if self._own else Mirror(study, list(self._tried.values()), self._note)
        self._first = [dict(params) for params in first_of(study)][len(past) :]

    def propose(self, number: int) -> Proposal:
        """A proposal that no trial had before, for trial `number`; its candidate may have a reason to be screened.

        Raises `ExhaustedError`, and `BrokenProposalError` for what is wrong with this proposal alone.
        """
        while self._first:
            if (proposal := self._ask(number, 0, self._first.pop(0))) is not None:
                return proposal
        for attempt in range(1, 2 if self._own else _ASKS + 1):
            if (proposal := self._ask(number, attempt, None)) is not None:
                return proposal
        raise ExhaustedError(
            f"no new recipe that can work was found in {_ASKS} draws: the space holds no more than it has given"
        )

    def accepted(self, number: int, token: int) -> None:
        """The proposal `token` became trial `number` of the database."""
        proposal = self._asked.pop(token)
        self._tried[number] = Tried(
            number=number,
            params=proposal.params,
            distributions=proposal.distributions,
            state=TrialState.RUNNING,
            known=proposal.known,
            system_attrs=proposal.system_attrs,
        )
        if self._mirror is not None:
            self._mirror.accepted(self._tried[number], token)

    def standing(self, number: int, values: Sequence[float]) -> None:
        """What the waiting trial `number` has shown so far, as objectives; to be called again as it shows more."""
        self._change(replace(self._tried[number], values=tuple(values)))

    def continued(self, pruned: int, number: int) -> None:
        """Trial `number` goes on from where the pruned one stood, and takes its place."""
        before = self._tried.pop(pruned)
        self._tried[number] = replace(before, number=number, state=TrialState.RUNNING)
        if self._mirror is not None:
            self._mirror = Mirror(self._study, list(self._tried.values()), self._note)

    def told(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        """How trial `number` ended. A PRUNED one keeps the values that it is given here, or showed last."""
        before = self._tried[number]
        if state == TrialState.PRUNED and values is None:
            kept = before.values
        else:
            kept = tuple(values) if values is not None and state != TrialState.FAIL else None
        self._change(replace(before, state=state, values=kept))

    def _ask(self, number: int, attempt: int, fixed: Mapping[str, Any] | None) -> Proposal | None:
        """A proposal, or None where the sampler gave a recipe that was there before."""
        history = list(self._tried.values())
        if self._own is not None:
            return self._ask_own(self._own, number, history, fixed)
        assert self._mirror is not None
        return self._ask_optuna(self._mirror, number, attempt, history, fixed)

    def _ask_own(
        self, sampler: "SizeAware", number: int, history: Sequence[Tried], fixed: Mapping[str, Any] | None
    ) -> Proposal | None:
        try:
            choice = sampler.ask(number, history, self._seen, fixed)
        except BrokenSpaceError as broken:
            if self._known_broken(broken.params):
                return None
            raise BrokenProposalError(broken.params, broken.distributions, broken.mistake) from broken
        if choice is None:
            return None
        try:
            known = self._screen.known(choice.candidate)
        except Mistake as error:
            self._seen.add(choice.candidate.recipe.fingerprint())
            trial = choice.sketch.trial
            raise BrokenProposalError(trial.params, trial.distributions, error) from error
        return self._proposal(choice.candidate, known, choice.sketch.recipe, choice.sketch.trial, {}, self._tokens)

    def _ask_optuna(
        self, mirror: Mirror, number: int, attempt: int, history: Sequence[Tried], fixed: Mapping[str, Any] | None
    ) -> Proposal | None:
        trial = mirror.ask(number, attempt, history, fixed)
        try:
            recipe, recorded = run_space(self._study.space, suggest(trial))
            candidate = self._screen(recipe)
            new = candidate.recipe.fingerprint() not in self._seen
            known = self._screen.known(candidate) if new else {}
        except Mistake as error:
            mirror.refuse(trial)
            if self._known_broken(trial.params):
                return None
            raise BrokenProposalError(trial.params, trial.distributions, error) from error
        if not new:
            mirror.refuse(trial)
            return None
        return self._proposal(candidate, known, recipe, recorded, mirror.constrain(trial, candidate), trial.number)

    def _known_broken(self, params: Mapping[str, Any]) -> bool:
        """Whether the study's code has raised on just these before: that is told, and counted, once."""
        written = _written(params)
        before = written in self._broken
        self._broken.add(written)
        return before

    def _proposal(
        self,
        candidate: Candidate,
        known: dict[str, float],
        recipe: Recipe,
        recorded: RecordingTrial,
        system_attrs: dict[str, Any],
        token: int,
    ) -> Proposal:
        self._seen.add(candidate.recipe.fingerprint())
        self._tokens = token + 1
        self._asked[token] = Proposal(
            candidate, known, recipe.fingerprint(), recorded.params, recorded.distributions, system_attrs, token
        )
        return self._asked[token]

    def _change(self, trial: Tried) -> None:
        self._tried[trial.number] = trial
        if self._mirror is not None:
            self._mirror.told(trial)

    def _note(self, note: str) -> None:
        if note not in self._noted:
            self._noted.add(note)
            self.notes.append(note)


def _continues(trial: FrozenTrial) -> int | None:
    """The pruned trial that this one goes on with, and stands for."""
    inherited: dict[str, Any] = trial.user_attrs.get("inherited") or {}
    return inherited["trial"] if inherited.get("kind") == "trial" else None


def _written(params: Mapping[str, Any]) -> str:
    return json.dumps(dict(params), sort_keys=True)


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
