"""What a database that is away, locked or slow to acknowledge may do to what is written: nothing."""

import sqlite3

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from kdsearch.database import Database
from kdsearch.mistakes import Mistake
from kdsearch.patience import AwayError, Patience, UnansweredError

UP = [optuna.study.StudyDirection.MAXIMIZE]


@pytest.fixture
def database(tmp_path):
    return Database(f"sqlite:///{tmp_path / 'o.db'}", Patience(seconds=60))


def forget_acknowledgement(monkeypatch, method):
    """The next call does what it should, and its answer is lost; gives how often it was called."""
    plain, calls = getattr(RDBStorage, method), []

    def lossy(self, *args, **kwargs):
        calls.append(args)
        answer = plain(self, *args, **kwargs)
        if len(calls) == 1:
            raise AwayError("the connection was cut in the middle of a commit")
        return answer

    monkeypatch.setattr(RDBStorage, method, lossy)
    return calls


@pytest.mark.parametrize("cached", [False, True])
def test_a_trial_whose_creation_was_not_acknowledged_is_there_once(database, monkeypatch, cached):
    storage = database.cached() if cached else database
    study = storage.create_new_study(UP, "small")
    forget_acknowledgement(monkeypatch, "_create_new_trial")
    made = storage.create_new_trial(study, create_trial(state=TrialState.RUNNING, user_attrs={"seed": 7}))
    second = storage.create_new_trial(study, create_trial(state=TrialState.RUNNING))
    assert [trial._trial_id for trial in storage.get_all_trials(study)] == [made, second]
    assert storage.get_trial(made).user_attrs == {"seed": 7}


def test_a_result_and_a_study_whose_writing_was_not_acknowledged_are_there_once(database, monkeypatch):
    forget_acknowledgement(monkeypatch, "create_new_study")
    study = database.create_new_study(UP, "small")
    assert study == database.get_study_id_from_name("small")
    trial = database.create_new_trial(study, create_trial(state=TrialState.RUNNING))
    calls = forget_acknowledgement(monkeypatch, "set_trial_state_values")
    assert database.set_trial_state_values(trial, TrialState.COMPLETE, [0.5])
    assert len(calls) == 2
    assert (database.get_trial(trial).state, database.get_trial(trial).values) == (TrialState.COMPLETE, [0.5])
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):  # a second result is still refused
        database.set_trial_state_values(trial, TrialState.COMPLETE, [0.6])
    with pytest.raises(optuna.exceptions.DuplicatedStudyError):
        database.create_new_study(UP, "small")


def test_a_locked_file_is_waited_for_and_said(tmp_path):
    path, said = tmp_path / "o.db", []

    def tell(text, _warning):
        said.append(text)
        if other.in_transaction:
            other.execute("rollback")

    # SQLite's own patience is cut to an instant
    database = Database(f"sqlite:///{path}?timeout=0.01", Patience(seconds=60, tell=tell))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin exclusive")
    database.create_new_study(UP, "small")
    assert "does not answer ((sqlite3" not in said[0] and "(database is locked); trying again in 1 s" in said[0]
    assert "answers again" in said[-1]
    other.execute("begin exclusive")
    with pytest.raises(UnansweredError, match="database is locked"):
        database.impatient().create_new_study(UP, "other")
    other.close()


def test_a_damaged_file_is_one_message_and_not_waited_for(tmp_path):
    path = tmp_path / "o.db"
    database = Database(f"sqlite:///{path}", Patience(seconds=1e9))
    database.engine.dispose()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\x55" * (len(content) - 100))
    with pytest.raises(Mistake, match="cannot be used"):
        database.create_new_study(UP, "small")


def test_what_sqlite_has_acknowledged_outlives_a_power_cut(database):
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("pragma synchronous").scalar() == 3  # EXTRA: the journal's end is synced too
        assert connection.exec_driver_sql("pragma journal_mode").scalar() == "delete"
