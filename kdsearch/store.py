"""Studies in Optuna's database, the source of truth: found, created, and their trials written and read.

Everything that a trial was or became is in it: the recipe, the seeds, the curve, the figures, the reason of a failure.
What is altered there is found by its sums (kdsearch/sums.py) when it is read, and named.
"""

import dataclasses
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from kdsearch import entries
from kdsearch.bookkeeping import Book, Loss
from kdsearch.driving import holder_of
from kdsearch.facts import FACTS, kept, noted, stated
from kdsearch.ledger import Ledger
from kdsearch.legible import legible
from kdsearch.mistakes import Mistake
from kdsearch.plain import from_json
from kdsearch.records import FORMAT, Inherited, Session, Spent, StudyFacts, TrialRecord
from kdsearch.study import OBJECTIVES, check_name
from kdsearch.sums import beside
from kdsearch.surroundings import Surroundings

CONDEMNED = "kdsearch_condemned"
"""Attribute of a study that is being deleted or restored; its value says which. Nobody may take it for a whole one."""
_SESSIONS, _MADE_WITH = "sessions", "made_with"


def study_names(storage: BaseStorage) -> list[str]:
    """The studies by name; their ledgers, which have a slash in their names, are none."""
    with legible():
        return sorted(study.study_name for study in storage.get_all_studies() if "/" not in study.study_name)


def is_stored(storage: BaseStorage, name: str, objectives: Sequence[str]) -> bool:
    """Whether there is a study of this name, of whomever; one whose creation was interrupted is none yet."""
    return name in study_names(storage) and _half_made(storage, name, objectives) is None


def _half_made(storage: BaseStorage, name: str, objectives: Sequence[str]) -> int | None:
    """The id of what a `Store.create` with these objectives left when it was interrupted: a name, without trials, with
    at most the facts' sums. What has other directions is somebody else's, however empty.
    """
    for study in storage.get_all_studies():
        if study.study_name == name and not study.system_attrs and study.user_attrs.keys() <= {beside(FACTS)}:
            ours = study.directions == _directions(objectives) and storage.get_n_trials(study._study_id) == 0
            return study._study_id if ours else None
    return None


def _directions(objectives: Sequence[str]) -> list[StudyDirection]:
    return [
        StudyDirection.MAXIMIZE if OBJECTIVES[name].direction == "maximize" else StudyDirection.MINIMIZE
        for name in objectives
    ]


class Store:
    """One study in the database. One driver writes; any number of processes read."""

    def __init__(self, storage: BaseStorage, name: str) -> None:
        """Open an existing study. Raises `Mistake`, with the names there are, if there is none of this name."""
        known = study_names(storage)
        if name not in known:
            raise Mistake(f"there is no study {name!r} here; there are: {', '.join(known) or 'none yet'}")
        check_name(name)  # whoever wrote the database
        self._storage = storage
        self._over: dict[int, TrialRecord] = {}
        with legible(name):
            self._id = storage.get_study_id_from_name(name)
            attributes = storage.get_study_user_attrs(self._id)
        if attributes.get(CONDEMNED):
            raise Mistake(
                f"the study {name!r} was being {attributes[CONDEMNED]}, which was interrupted; "
                f"`kdsearch delete {name}` removes what is left of it"
            )
        if FACTS not in attributes:
            raise Mistake(
                f"the study {name!r} was not made by kdsearch; give this study another name, or run it again where its "
                "creation was interrupted"
            )
        with legible(name):
            content = kept(attributes)
            if content.get("format") != FORMAT:
                raise Mistake(
                    f"the study {name!r} was written by another version of kdsearch; use that version, or start anew"
                )
            self.facts = stated(content, name)
            if storage.get_study_directions(self._id) != _directions(self.facts.objectives):
                raise ValueError("its directions are not those of its objectives")

    @classmethod
    def create(cls, storage: BaseStorage, facts: StudyFacts) -> "Store":
        """A new study, which its facts make one: they are written last. Whoever creates it holds its lease."""
        if (begun := _half_made(storage, facts.name, facts.objectives)) is not None:
            storage.delete_study(begun)
        study_id = storage.create_new_study(_directions(facts.objectives), facts.name)
        for attribute, value in noted(None, facts).items():
            storage.set_study_user_attr(study_id, attribute, value)
        return cls(storage, facts.name)

    @property
    def ledger(self) -> Ledger:
        """What of this study was trained again on fresh seeds."""
        return Ledger(self._storage, self.facts.name, self.facts.id)

    @property
    def driven(self) -> bool:
        """Whether a driver of any workspace seems to be at work on the study."""
        return holder_of(self._storage, self.facts.name) is not None

    def note_teacher_accuracy(self, accuracy: float) -> None:
        """Complete the facts of a study whose teacher had not been measured when it was created."""
        before = self.facts
        self.facts = dataclasses.replace(before, teacher={**before.teacher, "accuracy": accuracy})
        self._note(noted(before, self.facts))

    def forget_file(self) -> None:
        """From now on the study names no study file: it is code, and somebody else wrote these rows."""
        before = self.facts
        self.facts = dataclasses.replace(before, file=None)
        self._note(noted(before, self.facts))

    def frozen_trials(self) -> list[FrozenTrial]:
        """All trials by number, as Optuna has them; not to be changed."""
        with _uncollected(), legible(self.facts.name):
            return self._storage.get_all_trials(self._id, deepcopy=False)

    def records(self) -> list[TrialRecord]:
        """All trials by number; those that are over are read once. Raises `Mistake` where one is not as kdsearch wrote
        it.
        """
        with _uncollected():
            return [self._read(trial) for trial in self.frozen_trials()]

    def record(self, number: int) -> TrialRecord:
        if number in self._over:
            return self._over[number]
        with legible(self.facts.name):
            trial = self._storage.get_trial(self._trial_id(number))
        return self._read(trial)

    def _read(self, trial: FrozenTrial) -> TrialRecord:
        if (known := self._over.get(trial.number)) is not None:
            return known  # nothing that is over changes any more
        with legible(self.facts.name, f"trial {trial.number}"):
            record = entries.read(trial)
        if trial.state.is_finished():
            self._over[trial.number] = record
        return record

    def unreadable(self) -> Iterator[tuple[str, Mistake]]:
        """What of the study is not as kdsearch wrote it and cannot be left out: each trial of which that is so, the
        runs of its ledger.
        """
        parts: list[tuple[str, Callable[[], object]]] = [
            *((f"trial {trial.number}", partial(self._read, trial)) for trial in self.frozen_trials()),
            ("the ledger", self.ledger.read),
        ]
        for what, read in parts:
            try:
                read()
            except Mistake as mistake:
                yield what, mistake

    def add(
        self,
        *,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        system_attrs: Mapping[str, Any],
        attrs: Mapping[str, Any],
        screened: str | None = None,
        failed: str | None = None,
    ) -> int:
        """Add a trial in one transaction: running, or over already for the reason given (screened: PRUNED; failed).

        Gives its number.
        """
        over: dict[str, Any] = {}
        state = TrialState.RUNNING
        if screened is not None:
            over, state = {"screened": screened, "ended_ms": entries.now_ms()}, TrialState.PRUNED
        elif failed is not None:
            over, state = {"reason": failed, "result": entries.result([], {}, reason=failed)}, TrialState.FAIL
        trial = create_trial(
            state=state,
            params=dict(params),
            distributions=dict(distributions),
            system_attrs=dict(system_attrs),
            user_attrs=entries.begun(params, distributions, system_attrs, {**attrs, **over}),
        )
        trial_id = self._storage.create_new_trial(self._id, template_trial=trial)
        return self._storage.get_trial_number_from_id(trial_id)

    def complete(
        self,
        number: int,
        values: Sequence[float],
        measured: Mapping[str, float],
        curve: list[dict[str, Any]],
        spent: Spent,
    ) -> None:
        whole = entries.result(curve, spent, measured, values=list(values), inherited=self._inherited(number))
        self._set(number, result=whole)
        self._storage.set_trial_state_values(self._trial_id(number), TrialState.COMPLETE, values)

    def fail(self, number: int, reason: str, curve: list[dict[str, Any]], spent: Spent) -> None:
        said = reason[:2000]
        whole = entries.result(curve, spent, reason=said, inherited=self._inherited(number))
        self._set(number, reason=said, result=whole)
        self._storage.set_trial_state_values(self._trial_id(number), TrialState.FAIL)

    def prune(
        self, number: int, reason: str, curve: list[dict[str, Any]], spent: Spent, standing: Sequence[float] | None
    ) -> None:
        """The budget ended while the trial waited at a rung; what it showed is kept, `standing` for the sampler."""
        shown = list(standing) if standing is not None else None
        inherited = self._inherited(number)
        whole = entries.result(curve, spent, reason=reason, standing=shown, inherited=inherited)
        self._set(number, reason=reason, result=whole, standing=shown)
        self._storage.set_trial_state_values(self._trial_id(number), TrialState.PRUNED)

    def waits(self, number: int, waiting: bool) -> None:
        """Whether the running trial stands at a rung."""
        self._set(number, waiting=waiting)

    def inherits(self, number: int, inherited: Inherited | None) -> None:
        """What another trial trained of this one; None where it is trained anew after all."""
        self._set(number, inherited=dataclasses.asdict(inherited) if inherited is not None else None)

    def sessions(self) -> list[Session]:
        """The study's runs so far, each written when it ended; without those that `left_out` names."""
        with legible(self.facts.name, "its sessions"):
            return self._sessions.entries()

    def add_session(self, session: Session) -> None:
        self._sessions.append(dataclasses.asdict(session))

    def surroundings(self) -> list[Surroundings]:
        """In what the study was run, one for each change, in order; none of studies of older versions, and without
        those that `left_out` names.
        """
        with legible(self.facts.name, "what it was made with"):
            return self._made_with.entries()

    def note_surroundings(self, now: Surroundings) -> None:
        """Add these, unless the last are the same. An attribute of its own: older versions read the study as before."""
        known = self.surroundings()
        if not known or known[-1] != now:
            self._made_with.append(dataclasses.asdict(now))

    def left_out(self) -> list[Loss]:
        """What of the study's bookkeeping is not as kdsearch wrote it: nothing else depends on it."""
        with legible(self.facts.name, "its account"):
            return [*self._sessions.losses(), *self._made_with.losses(), *self.ledger.left_out()]

    @property
    def _sessions(self) -> Book[Session]:
        return Book(self._storage, self._id, _SESSIONS, partial(from_json, Session), apart=True)

    @property
    def _made_with(self) -> Book[Surroundings]:
        return Book(self._storage, self._id, _MADE_WITH, partial(from_json, Surroundings))

    def _note(self, attrs: Mapping[str, Any]) -> None:
        for name, value in attrs.items():
            self._storage.set_study_user_attr(self._id, name, value)

    def _inherited(self, number: int) -> Any:
        """As it is stored, to be sealed with what became of the trial."""
        return self._storage.get_trial(self._trial_id(number)).user_attrs.get("inherited")

    def _set(self, number: int, **attrs: Any) -> None:
        for name, value in attrs.items():
            self._storage.set_trial_user_attr(self._trial_id(number), name, value)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage meanwhile: among the hundred thousand rows of a large study, none of which is any, it takes
    a third of the time.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
