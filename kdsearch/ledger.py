"""What was trained again on fresh seeds, kept in Optuna's database beside the study: runs, and what they answer.

A run is a trial of the Optuna study `NAME/confirm-ID`, whose value is the accuracy on the test split. Names of studies
have no slash, so that no study can be taken for a ledger; the study's own id keeps a new study of an old name apart.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from kdsearch.bookkeeping import Book, Loss
from kdsearch.evidence import Sample
from kdsearch.legible import check_curve, legible
from kdsearch.plain import from_json, is_number
from kdsearch.sums import beside, change, held, sum_of

_RUN, _SUM = "run", "sum"
_QUESTIONS = "questions"
_TEACHER = "teacher_test_accuracy"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of training that is compared to others: `key` knows it again, whatever question it is an arm of."""

    label: str
    key: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What `arms` are trained for, each on the same `seeds` (their numbers, from 0).

    `name` is "confirm" (the first arm is the front member `trial`, the others its controls) or what was compared
    (the first arm is what the others are compared to, `trial` the one that they vary, None for recipes of their own).
    """

    name: str
    trial: int | None
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Question":
        """Raises `ValueError`, `TypeError` or `KeyError` where it is none."""
        asked = from_json(_Asked, content)
        arms = tuple(from_json(Arm, arm) for arm in asked.arms)
        if not arms:
            raise ValueError("a question without arms")
        return cls(name=asked.name, trial=asked.trial, arms=arms, seeds=tuple(asked.seeds))


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A question as JSON has it."""

    name: str
    trial: int | None
    arms: list[Any]
    seeds: list[int]


@dataclass(frozen=True, kw_only=True)
class RepeatRecord:
    """One run of an arm on one seed: `measured` holds the validation split's figures and `test_accuracy`.

    `seconds` are of training and evaluation; times are milliseconds since the epoch.
    """

    arm: str
    seed: int
    label: str
    state: Literal["complete", "failed"]
    fingerprint: str
    recipe: dict[str, Any]
    described: dict[str, Any]
    seeds: dict[str, int]
    known: dict[str, float]
    measured: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)
    reason: str | None = None
    began_ms: int = 0
    ended_ms: int = 0

    @property
    def seconds(self) -> float:
        return float(sum(line["seconds"] + line["evaluation_seconds"] for line in self.curve))


@dataclass(frozen=True)
class Confirmed:
    """What was confirmed: a ledger's content at one moment. `teacher_test_accuracy` is None until it is measured."""

    questions: tuple[Question, ...] = ()
    records: tuple[RepeatRecord, ...] = ()
    teacher_test_accuracy: float | None = None

    def sample(self, arm: str, figure: str = "test_accuracy") -> Sample:
        """A figure of an arm's complete runs, by seed."""
        found = (record for record in self.records if record.arm == arm and record.state == "complete")
        return {record.seed: record.measured[figure] for record in found}

    def runs(self, arm: str) -> list[RepeatRecord]:
        return [record for record in self.records if record.arm == arm]


class Ledger:
    """The ledger of the study `name` with that id. One driver writes; any number of processes read."""

    def __init__(self, storage: BaseStorage, name: str, study_id: str) -> None:
        self._storage = storage
        self.name = f"{name}/confirm-{study_id[:12]}"

    def read(self) -> Confirmed:
        """What is in it, without what `left_out` names: nothing where nothing was confirmed yet. Of an arm's runs on
        one seed the last counts.
        """
        study_id = self._find()
        if study_id is None:
            return Confirmed()
        with legible(self.name, "the runs on fresh seeds"):
            trials = self._storage.get_all_trials(study_id, deepcopy=False)
            accuracy, _ = self._teacher(study_id)
            questions = tuple(self._questions(study_id).entries())
        records = [self._read(trial) for trial in trials]
        return Confirmed(
            questions=questions,
            records=tuple({(record.arm, record.seed): record for record in records}.values()),
            teacher_test_accuracy=accuracy,
        )

    def ask(self, questions: list[Question]) -> None:
        """Note what is to be answered. A question asked before about the same trial keeps arms that are new to it, and
        its seeds where they were more.
        """
        asked = {(question.name, question.trial): question for question in self.read().questions}
        for question in questions:
            before = asked.get((question.name, question.trial))
            asked[question.name, question.trial] = question if before is None else _joined(before, question)
        self._questions(self._made()).replace([dataclasses.asdict(question) for question in asked.values()])

    def add(self, record: RepeatRecord) -> None:
        """Write a run that is over, in one transaction."""
        complete = record.state == "complete"
        text = json.dumps(dataclasses.asdict(record))
        trial = create_trial(
            state=TrialState.COMPLETE if complete else TrialState.FAIL,
            value=record.measured["test_accuracy"] if complete else None,
            user_attrs={_RUN: text, _SUM: sum_of(text)},
        )
        self._storage.create_new_trial(self._made(), template_trial=trial)

    def note_teacher(self, test_accuracy: float) -> None:
        study_id = self._made()
        before, _ = self._teacher(study_id)
        for attribute, content in change(_TEACHER, before, test_accuracy).items():
            self._storage.set_study_user_attr(study_id, attribute, content)

    def left_out(self) -> list[Loss]:
        """What was asked, and the teacher's accuracy, where they are not what was written: both can be had again."""
        study_id = self._find()
        if study_id is None:
            return []
        _, reason = self._teacher(study_id)
        drop = partial(self._forget_teacher, study_id)
        lost = [Loss(what="the teacher's accuracy on the test split", reason=reason, drop=drop)] if reason else []
        return [*self._questions(study_id).losses(), *lost]

    def _read(self, trial: FrozenTrial) -> RepeatRecord:
        with legible(self.name, f"run {trial.number} on fresh seeds"):
            return _record(trial)

    def _questions(self, study_id: int) -> Book[Question]:
        return Book(self._storage, study_id, _QUESTIONS, Question.from_json)

    def _teacher(self, study_id: int) -> tuple[float | None, str | None]:
        """The teacher's accuracy, None where it is not known, and why it is left out where it is."""
        try:
            accuracy = held(self._storage.get_study_user_attrs(study_id), _TEACHER)
        except (ValueError, TypeError) as error:
            return None, str(error)
        if accuracy is not None and not is_number(accuracy):
            return None, f"it is {accuracy!r}"[:100]
        return accuracy, None

    def _forget_teacher(self, study_id: int) -> None:
        for attribute in (beside(_TEACHER), _TEACHER):
            self._storage.set_study_user_attr(study_id, attribute, None)

    def _find(self) -> int | None:
        names = {study.study_name: study._study_id for study in self._storage.get_all_studies()}
        return names.get(self.name)

    def _made(self) -> int:
        found = self._find()
        return found if found is not None else self._storage.create_new_study([StudyDirection.MAXIMIZE], self.name)


def _joined(before: Question, now: Question) -> Question:
    """The first arm and the order are the new question's; arms it does not have stay behind its own, but for those
    whose label means another recipe now.
    """
    if before.arms[0].key != now.arms[0].key:
        return now
    known = {arm.key for arm in now.arms} | {arm.label for arm in now.arms}
    kept = tuple(arm for arm in before.arms if not {arm.key, arm.label} & known)
    seeds = max(before.seeds, now.seeds, key=len)
    return dataclasses.replace(now, arms=(*now.arms, *kept), seeds=seeds)


def _record(trial: FrozenTrial) -> RepeatRecord:
    """Raises `ValueError`, `TypeError` or `KeyError` where it is not what was written."""
    text = trial.user_attrs[_RUN]
    if trial.user_attrs.get(_SUM, whole := sum_of(text)) != whole:  # older versions wrote none
        raise ValueError(f"run {trial.number} is not what was written")
    record = from_json(RepeatRecord, json.loads(text))
    check_curve(record.curve)
    complete = record.state == "complete"
    if complete and not {"accuracy", "test_accuracy"} <= record.measured.keys():
        raise ValueError("a complete run lacks its accuracies")
    if complete != (trial.state == TrialState.COMPLETE):
        raise ValueError("its state is not what was written")
    if complete and trial.value != record.measured["test_accuracy"]:
        raise ValueError("its value is not what was written")
    return record
