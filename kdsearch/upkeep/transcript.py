"""A study's rows as lines of JSON, written and read through Optuna's own interface: any database to any other.

The first line is the study, then a line for each trial by number; then, where something was confirmed, the ledger and
its runs likewise. Times are seconds since the epoch: machines have different clocks on their walls.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.exceptions import DuplicatedStudyError, OptunaError
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kdsearch.facts import FACTS
from kdsearch.mistakes import Mistake
from kdsearch.records import StudyFacts
from kdsearch.results import Results
from kdsearch.store import CONDEMNED, Store

_MOST_LINE = 256 * 2**20
_UNFIT = (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, RecursionError, OptunaError)


def transcribe(storage: BaseStorage, names: list[str]) -> Iterator[str]:
    """Lines for the studies of those names: kdsearch's, then its ledger where it has one."""
    for name in names:
        held = storage.get_study_id_from_name(name)
        attributes = {key: value for key, value in storage.get_study_user_attrs(held).items() if key != CONDEMNED}
        head = {
            "name": name,
            "directions": [direction.name for direction in storage.get_study_directions(held)],
            "user_attrs": attributes,
            "system_attrs": storage.get_study_system_attrs(held),
        }
        yield json.dumps({"study": head}) + "\n"
        for trial in storage.get_all_trials(held, deepcopy=False):
            yield json.dumps({"trial": _written(trial)}) + "\n"


class Transcript:
    """The rows of one study, read from a file and known to be whole. They name no study file, which is code: whoever
    made them could have named any. `said_file` is the one that they did, to be shown.
    """

    def __init__(self, path: Path, name: str) -> None:
        """Raises `Mistake` where the rows are not those of a study of that name as kdsearch writes them."""
        self.name = name
        self._memory = InMemoryStorage()
        try:
            for head, trials in _studies(path):
                held = _begin(self._memory, head)
                for key, value in head["user_attrs"].items():
                    self._memory.set_study_user_attr(held, str(key), value)
                _add(self._memory, str(head["name"]), trials)
            facts = self._check(name)
        except Mistake as mistake:
            raise Mistake(f"its rows are no study's: {mistake}") from None
        except _UNFIT as error:
            raise Mistake(f"its rows are no study's ({type(error).__name__}: {str(error)[:200]})") from None
        self.said_file, self.id = facts.file, facts.id

    def _check(self, name: str) -> StudyFacts:
        """All that is shown of a study is computed once, so that what cannot be is found before it is stored. Gives its
        facts, the study file that was named among them.
        """
        store = Store(self._memory, name)
        facts = store.facts
        if facts.name != name or not facts.id.isalnum():
            raise Mistake(f"they are of {facts.name!r}, not of {name!r}")
        unknown = {study.study_name for study in self._memory.get_all_studies()} - {name, store.ledger.name}
        if unknown:
            raise Mistake(f"there are others among them: {', '.join(sorted(unknown))}")
        store.sessions()
        results = Results.of(store)
        _ = results.front, results.hypervolume, results.findings
        store.forget_file()
        return facts

    def begin(self, storage: BaseStorage) -> None:
        """Write the rows, as a study that is condemned until `commit`. Raises `Mistake` where one of that name is
        there.
        """
        for study in self._studies():
            try:
                held = storage.create_new_study(study.directions, study.study_name)
            except DuplicatedStudyError:
                raise Mistake(f"the database has a study {study.study_name!r} already") from None
            storage.set_study_user_attr(held, CONDEMNED, "restored")
            if FACTS in study.user_attrs:  # for `delete`, should we be killed: whose folder it is
                storage.set_study_user_attr(held, FACTS, study.user_attrs[FACTS])
            for key, value in self._memory.get_study_system_attrs(study._study_id).items():
                storage.set_study_system_attr(held, key, value)
            _add(storage, study.study_name, study.get_trials(deepcopy=False))

    def commit(self, storage: BaseStorage) -> None:
        """Give the study, at last, what makes it one."""
        for study in reversed(self._studies()):
            held = storage.get_study_id_from_name(study.study_name)
            for key, value in study.user_attrs.items():
                storage.set_study_user_attr(held, key, value)
            storage.set_study_user_attr(held, CONDEMNED, "")

    def _studies(self) -> list[optuna.Study]:
        """The study itself first: its name is what others would take."""
        names = sorted((one.study_name for one in self._memory.get_all_studies()), key=len)
        return [optuna.load_study(study_name=name, storage=self._memory) for name in names]


def _studies(path: Path) -> Iterator[tuple[dict[str, Any], list[FrozenTrial]]]:
    head: dict[str, Any] | None = None
    trials: list[FrozenTrial] = []
    with path.open(encoding="utf-8") as file:
        while line := file.readline(_MOST_LINE):
            content = json.loads(line)
            if "study" in content:
                if head is not None:
                    yield head, trials
                head, trials = content["study"], []
            else:
                trial = _read(content["trial"])
                if trial.number != len(trials):
                    raise Mistake(f"trial {trial.number} stands where {len(trials)} should")
                trials.append(trial)
    if head is None:
        raise Mistake("there are none")
    yield head, trials


def _begin(storage: BaseStorage, head: dict[str, Any]) -> int:
    held = storage.create_new_study([StudyDirection[name] for name in head["directions"]], str(head["name"]))
    for key, value in head["system_attrs"].items():
        storage.set_study_system_attr(held, str(key), value)
    return held


def _add(storage: BaseStorage, name: str, trials: list[FrozenTrial]) -> None:
    study = optuna.load_study(study_name=name, storage=storage)
    for trial in trials:
        study.add_trial(trial)


def _written(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name,
        "values": trial.values,
        "began": _seconds(trial.datetime_start),
        "ended": _seconds(trial.datetime_complete),
        "params": trial.params,
        "distributions": {name: distribution_to_json(one) for name, one in trial.distributions.items()},
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
    }


def _read(held: dict[str, Any]) -> FrozenTrial:
    return FrozenTrial(
        number=int(held["number"]),
        trial_id=0,
        state=TrialState[held["state"]],
        value=None,
        values=held["values"],
        datetime_start=_moment(held["began"]),
        datetime_complete=_moment(held["ended"]),
        params=dict(held["params"]),
        distributions={name: json_to_distribution(text) for name, text in held["distributions"].items()},
        user_attrs=dict(held["user_attrs"]),
        system_attrs=dict(held["system_attrs"]),
        intermediate_values={},
    )


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment is not None else None


def _moment(seconds: float | None) -> datetime | None:
    """As Optuna keeps times: local, without a zone."""
    return datetime.fromtimestamp(seconds) if seconds is not None else None
