"""Optuna's database, opened so that a search survives it: one that is away is waited for, what it has acknowledged is
on the disk, and whoever lost the study's lease (kdsearch/driving.py) writes nothing more.
"""

import copy
import functools
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.orm import Session

from kdsearch.masking import masked
from kdsearch.mistakes import DiskError, Mistake
from kdsearch.patience import AwayError, Patience

_Answer = TypeVar("_Answer")

_TOKEN = "kdsearch:token"  # noqa: S105 - no secret: it knows a trial again whose creation was not acknowledged
_WROTE = "kdsearch_wrote"
_HELD = (
    "select held.state from trials as held join trial_system_attributes as told on told.trial_id = held.trial_id "
    "where held.trial_id = :trial and told.key = :key and told.value_json = :token"
)
_LOCK_SECONDS = 10
_STILL_SECONDS = 60
_PASSING_SQLITE = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
_DISK_SQLITE = ("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR")
_DAMAGED_SQLITE = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CANTOPEN")
# PostgreSQL's classes of errors: connection, resources, rolled back, an operator's doing; and a lock that others hold
_PASSING_CLASSES, _PASSING_STATES = ("08", "53", "40", "57"), ("55P03",)

# what can be asked twice and is as if it had been asked once
_REPEATABLE = (
    *("get_all_studies", "get_study_id_from_name", "get_study_name_from_id", "get_study_directions"),
    *("get_study_user_attrs", "get_study_system_attrs", "set_study_user_attr", "set_study_system_attr"),
    *("get_trial", "_get_trials", "get_trial_id_from_study_id_trial_number", "set_trial_user_attr"),
    *("set_trial_system_attr", "delete_study"),
)

_compatible: set[str] = set()
"""URLs of databases whose schema this process found to be this Optuna's: looking takes longer than opening."""


class UsurpedError(Mistake):
    """Another driver has taken the study over, or it is gone."""

    def __init__(self) -> None:
        super().__init__(
            "this study was taken over by another run, or deleted, for this run had given no sign of life for too "
            "long; it ends here, and what it had told before stands"
        )


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A place in the queue for a study: the trial, and what tells it from one that got its number after it was deleted,
    as SQLite gives them.
    """

    trial: int
    token: str


class Database(RDBStorage):
    """Optuna's storage at `url`, each of whose calls is made as `patience` has it; may be used by several threads.

    Raises what SQLAlchemy raises where the database cannot be opened, for which nobody waits.
    """

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        self.shown = masked(sqlalchemy.make_url(url).render_as_string())
        options = _engine_options(sqlalchemy.make_url(url))
        super().__init__(url, engine_kwargs=options, skip_compatibility_check=url in _compatible)
        _compatible.add(url)
        self._patience = patience or Patience()
        self._guard = _Guard()
        event.listen(self.engine, "handle_error", self._sort_out)
        event.listen(self.engine, "before_cursor_execute", _note_writing)
        event.listen(self.scoped_session, "before_commit", self._guard.check)
        event.listen(self.engine, "connect", _sqlite_options if self.engine.name == "sqlite" else _server_options)
        self.engine.dispose()  # the connections that were made without these

    def cached(self) -> BaseStorage:
        """The same database behind Optuna's cache of ended trials."""
        return get_storage(self)

    def impatient(self) -> "Database":
        """The same database for who does not wait."""
        other = Database.__new__(Database)  # a copy would connect anew
        other.__dict__.update(self.__dict__)
        other._patience = Patience()
        return other

    def claim(self, trial: int) -> Claim:
        """What `write_only_while` needs of the trial of that id."""
        return Claim(trial=trial, token=str(self.get_trial(trial).system_attrs[_TOKEN]))

    def write_only_while(self, claim: Claim | None) -> None:
        """From now on every transaction that writes holds only where the claimed trial was not ended by another, else
        it raises `UsurpedError`, as does asking for what is gone; None: whatever else there is.
        """
        self._guard.claim = claim

    def _ask(self, ask: Callable[[bool], _Answer]) -> _Answer:
        try:
            return self._patience(self.shown, ask)
        except KeyError:  # Optuna's, of a study or a trial that is not there
            if self._guard.claim is None:
                raise
            raise UsurpedError from None
        except UpdateFinishedTrialError:  # of a trial that another has ended, which Optuna sees before the guard does
            if self._guard.claim is None or self._holds(self._guard.claim):
                raise
            raise UsurpedError from None

    def _holds(self, claim: Claim) -> bool:
        found = self.get_trial(claim.trial)
        return found.state == TrialState.RUNNING and found.system_attrs.get(_TOKEN) == claim.token

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        def ask(again: bool) -> int:
            try:
                return RDBStorage.create_new_study(self, directions, study_name)
            except DuplicatedStudyError:
                if not again or study_name is None:
                    raise
                return self.get_study_id_from_name(study_name)  # it had been heard the first time

        return self._ask(ask)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        if template_trial is None:
            raise NotImplementedError("a trial is made from a template here, which carries its token")
        token = uuid.uuid4().hex
        template = copy.copy(template_trial)
        template.system_attrs = {**template_trial.system_attrs, _TOKEN: token}

        def ask(again: bool) -> FrozenTrial:
            if again and (made := self._with_token(study_id, token)) is not None:
                return made
            return RDBStorage._create_new_trial(self, study_id, template)

        return self._ask(ask)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        def ask(again: bool) -> bool:
            try:
                return RDBStorage.set_trial_state_values(self, trial_id, state, values)
            except UpdateFinishedTrialError:
                if not again or RDBStorage.get_trial(self, trial_id).state != state:
                    raise
                return True  # it had been heard the first time

        return self._ask(ask)

    def _with_token(self, study_id: int, token: str) -> FrozenTrial | None:
        trials = RDBStorage._get_trials(self, study_id, None, set(), -1)
        return next((trial for trial in reversed(trials) if trial.system_attrs.get(_TOKEN) == token), None)

    def _sort_out(self, context: ExceptionContext) -> None:
        """Raise `AwayError` for what may pass and `Mistake` for a damaged or forbidden file, in place of the error."""
        error = context.original_exception
        reason = masked(" ".join(str(error).split()))[:200]
        if _may_pass(context):
            raise AwayError(reason) from error
        said = getattr(error, "sqlite_errorname", "")
        if said.startswith(_DISK_SQLITE):
            raise DiskError(
                f"the database {self.shown} cannot be written ({reason}); everything told so far is kept: mend that "
                "(free some space, say), and the same command goes on"
            ) from error
        if said.startswith(_DAMAGED_SQLITE):
            raise Mistake(
                f"the database {self.shown} cannot be used ({reason}); restore it, or mend its disk"
            ) from error


def _repeatable(name: str) -> Callable[..., Any]:
    plain = getattr(RDBStorage, name)

    @functools.wraps(plain)
    def patient(self: Database, *args: Any, **kwargs: Any) -> Any:
        return self._ask(lambda again: plain(self, *args, **kwargs))

    return patient


for _name in _REPEATABLE:
    setattr(Database, _name, _repeatable(_name))


class _Guard:
    """Looks, within each transaction that writes, whether the lease is still held: who takes it over waits for the
    transaction's end, so that there is no moment between the look and the commit.
    """

    def __init__(self) -> None:
        self.claim: Claim | None = None

    def check(self, session: Session) -> None:
        if self.claim is None:
            return
        session.flush()
        connection = session.connection()
        if not connection.info.pop(_WROTE, False):
            return
        # SQLite has one writer at a time
        lock = " for share of held" if connection.dialect.name == "postgresql" else ""
        query = sqlalchemy.text(_HELD + lock)
        found = {"trial": self.claim.trial, "key": _TOKEN, "token": json.dumps(self.claim.token)}
        # who takes over has it fail; only its owner completes it
        if session.execute(query, found).scalar() not in (TrialState.RUNNING.name, TrialState.COMPLETE.name):
            raise UsurpedError


def _note_writing(connection: sqlalchemy.Connection, _cursor: Any, statement: str, *_: Any) -> None:
    if not statement.lstrip().upper().startswith("SELECT"):
        connection.info[_WROTE] = True


def _may_pass(context: ExceptionContext) -> bool:
    """Whether the error says that the database is away, locked, full or starting, not that it was asked wrongly."""
    error = context.original_exception
    if context.is_disconnect:
        return True
    if (name := getattr(error, "sqlite_errorname", None)) is not None:
        return str(name).startswith(_PASSING_SQLITE)
    operational = context.dialect.dbapi is not None and isinstance(error, context.dialect.dbapi.OperationalError)
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if state is None:
        return operational  # no connection was made, for whatever reason
    return state[:2] in _PASSING_CLASSES or state in _PASSING_STATES


def _engine_options(url: sqlalchemy.URL) -> dict[str, Any]:
    if url.get_backend_name() != "postgresql":
        return {}
    # libpq's names; a network that swallows packets is noticed within half a minute
    network = {"connect_timeout": 10, "keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 2}
    network |= {"tcp_user_timeout": 30_000}
    return {"connect_args": {name: value for name, value in network.items() if name not in url.query}}


def _sqlite_options(connection: Any, _record: object) -> None:
    # FULL, SQLite's default, may forget the last commit when the power fails: its journal's end is not yet on the disk
    connection.execute("pragma synchronous = extra")


def _server_options(connection: Any, _record: object) -> None:
    if not hasattr(connection, "pgconn") and "psycopg" not in type(connection).__module__:
        return
    with connection.cursor() as cursor:
        cursor.execute(f"set lock_timeout = '{_LOCK_SECONDS}s'")  # a table that somebody locked is waited for, aloud
        # a driver that stands still in the middle of a transaction keeps nobody from taking over
        cursor.execute(f"set idle_in_transaction_session_timeout = '{_STILL_SECONDS}s'")
    connection.commit()


optuna.logging.set_verbosity(optuna.logging.WARNING)
