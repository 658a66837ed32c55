"""Optuna's database, the source of truth: studies and trials as kdsearch writes and reads them.

Everything that a trial was or became is in it: the recipe, the seeds, the curve, the figures, the reason of a failure.
Values of several objectives have no intermediate values in Optuna, so curves are user attributes.
"""

import dataclasses
import gc
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import exc

from kdsearch.database import Database
from kdsearch.driving import holder_of
from kdsearch.ledger import Ledger
from kdsearch.legible import check_curve, check_text, legible
from kdsearch.masking import masked
from kdsearch.mistakes import Mistake
from kdsearch.patience import Patience
from kdsearch.plain import digest, from_json, is_number
from kdsearch.study import OBJECTIVES, check_name
from kdsearch.surroundings import Surroundings

FORMAT = 1
_FACTS = "kdsearch"
_SESSIONS = "sessions"
_AT_ONCE = 5

CONDEMNED = "kdsearch_condemned"
"""Attribute of a study that is being deleted or restored; its value says which. Nobody may take it for a whole one."""
_MADE_WITH = "made_with"
_WRITTEN = ("recipe", "described", "fingerprint", "proposed", "seeds", "known")
_SPLITS = ("train", "validation", "test")

State = Literal["complete", "pruned", "screened", "failed", "running"]


Spent = dict[str, float]
"""Seconds of a trial by what they went into: start, distil, evaluation, signals, waiting, checkpointing."""


@dataclass(frozen=True, kw_only=True)
class Inherited:
    """The first `epochs` lines of a trial's curve were trained by `trial`, whose start this one shares or which,
    pruned, it continues.
    """

    kind: Literal["start", "trial"]
    trial: int
    epochs: int


@dataclass(frozen=True, kw_only=True)
class Session:
    """One run of a study: how long its workers were there, how long each was busy with segments, all in seconds.
    `workers` is their mean number: on a cluster they come and go.

    `student_seconds` of `busy_seconds` went into training and evaluating students; `epochs` were trained.
    """

    began_ms: int
    seconds: float
    workers: float
    busy_seconds: float
    student_seconds: float
    epochs: int


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial as the database has it.

    `described` is the recipe flat; `fingerprint` the recipe's, `proposed` that of the recipe as the space gave it,
    before its hint layers were named; `known` the figures that need no training; `measured` those of the trained
    student, empty until it is complete; `spent` the seconds by what they went into; `inherited` what of the curve
    another trial trained; `waiting` whether it stands at a rung; times are milliseconds since the epoch.
    """

    number: int
    state: State
    params: dict[str, Any]
    recipe: dict[str, Any] = field(default_factory=dict)
    described: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    seeds: dict[str, int] = field(default_factory=dict)
    known: dict[str, float] = field(default_factory=dict)
    proposed: str = ""
    measured: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)
    spent: Spent = field(default_factory=dict)
    inherited: Inherited | None = None
    waiting: bool = False
    reason: str | None = None
    began_ms: int = 0
    ended_ms: int | None = None

    @property
    def epochs_trained(self) -> int:
        """Epochs of the stored curve that this trial trained itself; 0 while it runs, as it is not stored yet."""
        if not self.curve:
            return 0
        return len(self.curve) - (self.inherited.epochs if self.inherited is not None else 0)

    @property
    def seconds(self) -> float | None:
        """Of its own training and evaluation between epochs; None before the trial is over."""
        own = self.curve[self.inherited.epochs if self.inherited is not None else 0 :]
        return sum(line["seconds"] + line["evaluation_seconds"] for line in own) if self.curve else None

    @property
    def last_accuracy(self) -> float | None:
        """The last validation accuracy of the curve; None where it has none yet."""
        accuracies = (line["validation_accuracy"] for line in reversed(self.curve) if "validation_accuracy" in line)
        return next(accuracies, None)

    @property
    def continues(self) -> int | None:
        """The pruned trial that this one goes on with."""
        return self.inherited.trial if self.inherited is not None and self.inherited.kind == "trial" else None


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """What was true of the study when its trials were made, kept with them.

    `id` is unique to this study, also among studies of one name.

    `data` has name, fingerprint, classes and the splits' sizes; `teacher` key, parameters, members and validation
    accuracy; `reference` the accuracy and parameters from which the hypervolume is measured.
    """

    id: str
    name: str
    card: str
    file: str | None
    smoke: bool
    objectives: list[str]
    seed: int
    data: dict[str, Any]
    teacher: dict[str, Any]
    reference: dict[str, float]
    format: int = FORMAT

    def differences(self, other: "StudyFacts") -> list[str]:
        """In what `other` differs so that its trials could not stand beside ours."""
        pairs = {
            "objectives": (self.objectives, other.objectives),
            "seed": (self.seed, other.seed),
            "data": (self.data["fingerprint"], other.data["fingerprint"]),
            "teacher": (self.teacher["key"], other.teacher["key"]),
        }
        return [f"the {what} (was {mine}, is {theirs})" for what, (mine, theirs) in pairs.items() if mine != theirs]


def open_storage(url: str, *, create: bool) -> BaseStorage:
    """`open_database` behind Optuna's cache of ended trials, for who only reads."""
    return open_database(url, create=create).cached()


def open_database(url: str, *, create: bool, patience: Patience | None = None) -> Database:
    """The database at a URL. Raises `Mistake` for an unusable URL, a garbage or a foreign database; `patience` is for
    what is asked of it later.

    Where `create` is false a SQLite file that is not there is a `Mistake` rather than a new, empty database.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except (exc.ArgumentError, ValueError):  # a port that is no number is a ValueError
        raise Mistake(
            f"--storage must be a database URL such as sqlite:///runs/optuna.db or postgresql+psycopg://..., "
            f"got {masked(url)!r}"
        ) from None
    shown = masked(parsed.render_as_string())
    try:
        if parsed.get_backend_name() == "sqlite":
            _check_sqlite(parsed, shown, create)
        return _opened(url, patience)
    except (ModuleNotFoundError, ImportError, exc.NoSuchModuleError) as error:
        raise Mistake(f"the database {shown} needs a driver that is not installed ({error})") from None
    except exc.OperationalError as error:
        raise Mistake(f"the database {shown} cannot be opened: {masked(str(error.orig))}") from None
    except (exc.DatabaseError, RuntimeError, StorageInternalError) as error:
        cause = error.__cause__ or error  # Optuna's says that something is too long
        reason = masked(str(getattr(cause, "orig", None) or cause).split("\n")[0])
        raise Mistake(f"{shown} is no database that kdsearch can use ({reason}); name another with --storage") from None


def _opened(url: str, patience: Patience | None) -> Database:
    """Of several programs that make the tables of a new database at once, one makes them: the others look again."""
    for _ in range(_AT_ONCE):
        try:
            return Database(url, patience)
        except (exc.ProgrammingError, exc.IntegrityError, exc.OperationalError) as error:
            if not any(said in str(error.orig) for said in ("already exists", "duplicate key", "UNIQUE constraint")):
                raise
            time.sleep(0.2)
    return Database(url, patience)


def _check_sqlite(url: sqlalchemy.URL, shown: str, create: bool) -> None:
    if url.database is None or url.database == ":memory:":
        raise Mistake(f"{shown} would be gone when the program ends; name a file: sqlite:///FILE.db")
    from pathlib import Path

    path = Path(url.database)
    if not path.exists():
        if not create:
            raise Mistake(f"there is no database {path}; run a study first, or name its --workspace or --storage")
        if not path.parent.is_dir():
            raise Mistake(f"the folder of the database {path} does not exist")
        return
    engine = sqlalchemy.create_engine(url)
    try:
        tables = set(sqlalchemy.inspect(engine).get_table_names())
        verdict = _verdict(engine) if create else "ok"  # by the one that writes: it reads the whole file
    finally:
        engine.dispose()
    if tables and not {"studies", "trials", "version_info"} <= tables:
        raise Mistake(
            f"{shown} is another program's database (its tables: {', '.join(sorted(tables)[:5])}); "
            "name another with --storage"
        )
    if verdict != "ok":
        raise Mistake(
            f"the database {shown} is damaged ({verdict.splitlines()[-1]}); bring a copy back, or have SQLite recover "
            f"what is whole: sqlite3 {path} .recover | sqlite3 NEW.db"
        )


def _verdict(engine: sqlalchemy.Engine) -> str:
    with engine.connect() as connection:
        return str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())


def study_names(storage: BaseStorage) -> list[str]:
    """The studies by name; their ledgers, which have a slash in their names, are none."""
    with legible():
        return sorted(study.study_name for study in storage.get_all_studies() if "/" not in study.study_name)


class Store:
    """One study in the database. One driver writes; any number of processes read."""

    def __init__(self, storage: BaseStorage, name: str) -> None:
        """Open an existing study. Raises `Mistake`, with the names there are, if there is none of this name."""
        known = study_names(storage)
        if name not in known:
            raise Mistake(f"there is no study {name!r} here; there are: {', '.join(known) or 'none yet'}")
        check_name(name)  # whoever wrote the database
        self._storage = storage
        with legible(name):
            self._id = storage.get_study_id_from_name(name)
            attributes = storage.get_study_user_attrs(self._id)
        if attributes.get(CONDEMNED):
            raise Mistake(
                f"the study {name!r} was being {attributes[CONDEMNED]}, which was interrupted; "
                f"`kdsearch delete {name}` removes what is left of it"
            )
        if _FACTS not in attributes:
            raise Mistake(f"the study {name!r} was not made by kdsearch; give this study another name")
        with legible(name):
            if attributes[_FACTS].get("format") != FORMAT:
                raise Mistake(
                    f"the study {name!r} was written by another version of kdsearch; use that version, or start anew"
                )
            self.facts = _facts(attributes[_FACTS], name)

    @classmethod
    def create(cls, storage: BaseStorage, facts: StudyFacts) -> "Store":
        directions = [
            StudyDirection.MAXIMIZE if OBJECTIVES[name].direction == "maximize" else StudyDirection.MINIMIZE
            for name in facts.objectives
        ]
        study_id = storage.create_new_study(directions, facts.name)
        storage.set_study_user_attr(study_id, _FACTS, dataclasses.asdict(facts))
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
        self.facts = dataclasses.replace(self.facts, teacher={**self.facts.teacher, "accuracy": accuracy})
        self._storage.set_study_user_attr(self._id, _FACTS, dataclasses.asdict(self.facts))

    def forget_file(self) -> None:
        """From now on the study names no study file: it is code, and somebody else wrote these rows."""
        self.facts = dataclasses.replace(self.facts, file=None)
        self._storage.set_study_user_attr(self._id, _FACTS, dataclasses.asdict(self.facts))

    def frozen_trials(self) -> list[FrozenTrial]:
        """All trials by number, as Optuna has them; not to be changed."""
        with _uncollected(), legible(self.facts.name):
            return self._storage.get_all_trials(self._id, deepcopy=False)

    def records(self) -> list[TrialRecord]:
        """All trials by number. Raises `Mistake` where one is not as kdsearch wrote it."""
        return [self._read(trial) for trial in self.frozen_trials()]

    def record(self, number: int) -> TrialRecord:
        with legible(self.facts.name):
            trial = self._storage.get_trial(self._trial_id(number))
        return self._read(trial)

    def _read(self, trial: FrozenTrial) -> TrialRecord:
        with legible(self.facts.name, f"trial {trial.number}"):
            return _record(trial)

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
        now = now_ms()
        over = {"screened": screened} if screened is not None else {"reason": failed} if failed is not None else {}
        ended = {**over, "ended_ms": now} if over else {}
        state = TrialState.PRUNED if screened is not None else TrialState.FAIL if failed is not None else None
        trial = create_trial(
            state=state or TrialState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            system_attrs=dict(system_attrs),
            user_attrs={**attrs, **ended, "began_ms": now},
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
        self._set(number, result=_result(curve, spent, measured))
        self._storage.set_trial_state_values(self._trial_id(number), TrialState.COMPLETE, values)

    def fail(self, number: int, reason: str, curve: list[dict[str, Any]], spent: Spent) -> None:
        self._set(number, reason=reason[:2000], result=_result(curve, spent))
        self._storage.set_trial_state_values(self._trial_id(number), TrialState.FAIL)

    def prune(
        self, number: int, reason: str, curve: list[dict[str, Any]], spent: Spent, standing: Sequence[float] | None
    ) -> None:
        """The budget ended while the trial waited at a rung; what it showed is kept, `standing` for the sampler."""
        self._set(number, reason=reason, result=_result(curve, spent), standing=standing)
        self._storage.set_trial_state_values(self._trial_id(number), TrialState.PRUNED)

    def waits(self, number: int, waiting: bool) -> None:
        """Whether the running trial stands at a rung."""
        self._set(number, waiting=waiting)

    def inherits(self, number: int, inherited: Inherited | None) -> None:
        """What another trial trained of this one; None where it is trained anew after all."""
        self._set(number, inherited=dataclasses.asdict(inherited) if inherited is not None else None)

    def sessions(self) -> list[Session]:
        """The study's runs so far, each written when it ended."""
        with legible(self.facts.name, "its sessions"):
            attributes = self._storage.get_study_user_attrs(self._id)
            return [from_json(Session, session) for session in attributes.get(_SESSIONS, [])]

    def add_session(self, session: Session) -> None:
        whole = [*self.sessions(), session]
        self._storage.set_study_user_attr(self._id, _SESSIONS, [dataclasses.asdict(one) for one in whole])

    def surroundings(self) -> list[Surroundings]:
        """In what the study was run, one for each change, in order; none of studies of older versions."""
        with legible(self.facts.name, "what it was made with"):
            attributes = self._storage.get_study_user_attrs(self._id)
            return [from_json(Surroundings, one) for one in attributes.get(_MADE_WITH, [])]

    def note_surroundings(self, now: Surroundings) -> None:
        """Add these, unless the last are the same. An attribute of its own: older versions read the study as before."""
        known = self.surroundings()
        if not known or known[-1] != now:
            whole = [dataclasses.asdict(one) for one in [*known, now]]
            self._storage.set_study_user_attr(self._id, _MADE_WITH, whole)

    def _set(self, number: int, **attrs: Any) -> None:
        for name, value in attrs.items():
            self._storage.set_trial_user_attr(self._trial_id(number), name, value)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)


def _facts(content: dict[str, Any], name: str) -> StudyFacts:
    """Raises `ValueError` where they are of another form, or those of another study."""
    facts = from_json(StudyFacts, content)
    check_text(content)
    if facts.name != name:
        raise ValueError(f"its facts are those of {facts.name!r}")
    wanted: dict[str, tuple[dict[str, Any], dict[str, type]]] = {
        "data": (facts.data, {"name": str, "fingerprint": str, "classes": int, **dict.fromkeys(_SPLITS, int)}),
        "teacher": (facts.teacher, {"key": str, "parameters": int, "members": int, "accuracy": float}),
        "reference": (facts.reference, {"accuracy": float, "parameters": float}),
    }
    for part, (found, kinds) in wanted.items():
        for key, kind in kinds.items():
            held = found.get(key)
            if not (is_number(held) if kind is float else isinstance(held, kind) and not isinstance(held, bool)):
                raise ValueError(f"its facts lack the {key} of {part}")
    if not facts.objectives or not set(facts.objectives) <= set(OBJECTIVES):
        raise ValueError(f"its objectives are {facts.objectives}")
    return facts


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


def _result(curve: list[dict[str, Any]], spent: Spent, measured: Mapping[str, float] | None = None) -> str:
    content = {"curve": curve, "spent": spent, "measured": dict(measured or {}), "ended_ms": now_ms()}
    return json.dumps({**content, "sum": digest(json.loads(json.dumps(content)))})


def _read_result(trial: FrozenTrial) -> dict[str, Any]:
    """Raises `Mistake` where what the database has of a trial's results is not what was written."""
    text = trial.user_attrs["result"]
    try:
        content = json.loads(text)
        whole = digest({name: part for name, part in content.items() if name != "sum"})
        sound = content.get("sum", whole) == whole  # studies of older versions have no sums
        values = trial.values if trial.state == TrialState.COMPLETE else None
        if sound and set(values or ()) <= set(content["measured"].values()):
            return dict(content)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise Mistake(
        f"the results of trial {trial.number} are not what was written to the database: it is damaged; bring a copy of "
        "it back"
    )


def _record(trial: FrozenTrial) -> TrialRecord:
    attrs = trial.user_attrs
    # one attribute, for each is a transaction of its own; studies of older versions have its parts beside one another
    result = _read_result(trial) if "result" in attrs else {**attrs, "curve": json.loads(attrs.get("curve", "[]"))}
    states: dict[TrialState, State] = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "screened" if "screened" in attrs else "pruned",
        TrialState.FAIL: "failed",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "running",
    }
    record = from_json(
        TrialRecord,
        {
            "number": trial.number,
            "state": states[trial.state],
            "params": dict(trial.params),
            **{name: attrs[name] for name in _WRITTEN if name in attrs},
            "measured": result.get("measured", {}),
            "curve": result["curve"],
            "spent": result.get("spent", {}),
            "inherited": from_json(Inherited, attrs["inherited"]) if attrs.get("inherited") else None,
            "waiting": bool(attrs.get("waiting", False)) and trial.state == TrialState.RUNNING,
            "reason": attrs.get("screened") or attrs.get("reason"),
            "began_ms": attrs.get("began_ms", _ms(trial.datetime_start) or 0),
            "ended_ms": result.get("ended_ms", _ms(trial.datetime_complete)) if trial.state.is_finished() else None,
        },
    )
    _check(record)
    return record


def _check(record: TrialRecord) -> None:
    """Raise `ValueError` where figures are missing that every reader counts on."""
    check_curve(record.curve)
    check_text([record.described, record.params])
    if record.state == "complete" and not ("accuracy" in record.measured and "parameters" in record.known):
        raise ValueError("it is complete and has no accuracy or no parameters")


def now_ms() -> int:
    """Milliseconds since the epoch, which no time zone and no daylight saving moves."""
    return time.time_ns() // 1_000_000


def _ms(moment: datetime | None) -> int | None:
    """Of studies of older versions, which have Optuna's own times alone: local, of nobody knows which zone."""
    return int(moment.timestamp() * 1000) if moment is not None else None
