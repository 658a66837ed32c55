"""The lease that is kept in the database: two drivers of different workspaces, with and without signs of life."""

import itertools
import sqlite3
import threading
import time

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from kdsearch import queueing
from kdsearch.database import Database, UsurpedError
from kdsearch.driving import holder_of, leased
from kdsearch.mistakes import Mistake
from kdsearch.watching import Rhythm, Watch

QUICK = Rhythm(beat_seconds=0.05, look_seconds=0.05, dead_after_seconds=0.6)
PATIENT = Rhythm(beat_seconds=0.05, look_seconds=0.05, dead_after_seconds=60)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'shared.db'}"


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """As if each process were on a machine of its own: nobody can look whether another's process is there."""
    monkeypatch.setattr(queueing, "_machine", lambda: "")


def hold(url, rhythm=PATIENT, tell=lambda text: None):
    return leased(Database(url), "small", tell=tell, stopping=lambda: False, rhythm=rhythm)


def test_a_beat_that_moves_is_life_and_one_that_stands_for_long_is_death():
    watch = Watch(Rhythm(look_seconds=1, dead_after_seconds=3))
    assert [at(watch, 7, now) for now in (0.0, 1.0, 2.0, 3.0)] == ["unsure", "unsure", "unsure", "dead"]
    watch = Watch(Rhythm(look_seconds=1, dead_after_seconds=3))
    assert [at(watch, 7, 0.0), at(watch, 7, 2.9), at(watch, 8, 3.5)] == ["unsure", "unsure", "alive"]


def at(watch, beat, now):
    """A look that the database answers at once."""
    return watch.saw(beat, asked=now, answered=now)


def test_a_database_that_takes_long_for_each_answer_does_not_make_the_wait_endless():
    watch = Watch(Rhythm(look_seconds=1, dead_after_seconds=30))
    said = [watch.saw(7, asked=11.0 * look, answered=11.0 * look + 10) for look in range(40)]
    assert said.index("dead") == 30


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_nobody_dies_while_nobody_looks_whatever_the_clock_does(times):
    # the watcher sleeps, the database is away, its clock jumps: only looks a moment apart count
    watch = Watch(Rhythm(look_seconds=1, dead_after_seconds=30))
    said = [at(watch, 1, now) for now in times]
    close = sum(b - a for a, b in itertools.pairwise(times) if 0 <= b - a <= 3)
    assert ("dead" in said) == (close >= 30) or close == pytest.approx(30)


def test_a_second_driver_is_told_who_drives_and_may_begin_when_the_first_has_ended(url):
    with hold(url) as first:
        assert holder_of(Database(url), "small").pid
        who = r"another run of the study 'small' is at work: process \d+ on .*, since 20"
        with pytest.raises(Mistake, match=who), hold(url):
            pass
        assert not first.lost
    assert holder_of(Database(url), "small") is None
    with hold(url):
        pass


def test_one_of_many_that_begin_at_once_drives(url):
    Database(url)
    began, refused, go = [], [], threading.Barrier(4)
    deadline = time.monotonic() + 120

    def drive():
        go.wait()
        try:
            with hold(url):
                began.append(time.monotonic())
                while len(refused) < 3 and time.monotonic() < deadline:
                    time.sleep(0.05)
        except Mistake as mistake:
            refused.append(str(mistake))

    threads = [threading.Thread(target=drive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(began) == 1 and len(refused) == 3


def test_a_driver_that_slept_too_long_is_replaced_and_writes_nothing_more(url):
    database, told = Database(url), []
    study = database.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "small")
    # its heart stands still, as in a process that is stopped
    with leased(database, "small", tell=told.append, stopping=lambda: False, rhythm=Rhythm(beat_seconds=3600)):
        made = database.create_new_trial(study, create_trial(state=TrialState.RUNNING))
        with hold(url, QUICK, tell=told.append):
            with pytest.raises(UsurpedError, match="taken over by another run, or deleted"):
                database.set_trial_state_values(made, TrialState.COMPLETE, [1.0])
            with pytest.raises(UsurpedError):
                database.create_new_trial(study, create_trial(state=TrialState.RUNNING))
            with pytest.raises(UsurpedError):
                database.set_study_user_attr(study, "x", 1)
            assert database.get_trial(made).state == TrialState.RUNNING, "reading it may"
    assert len(database.get_all_trials(study)) == 1
    assert ["whether it lives" in told[0], "taking over" in told[-1]] == [True, True]


def test_a_driver_whose_heart_beats_notices_that_it_was_replaced(url):
    with hold(url) as lease:
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.execute("update trials set state = 'FAIL'")
        deadline = time.monotonic() + 30
        while not lease.lost:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(UsurpedError):
            lease.check()


def test_a_process_of_this_machine_that_is_gone_is_not_watched(url, monkeypatch):
    import subprocess
    import sys

    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    monkeypatch.setattr(queueing, "_machine", lambda: "this one")
    monkeypatch.setattr(queueing.os, "getpid", lambda: ended.pid)
    told = []
    with hold(url, Rhythm(beat_seconds=3600)), hold(url, tell=told.append):
        assert len(told) == 1 and "taking over" in told[0]


@pytest.mark.parametrize(
    "damage",
    [
        "update trials set datetime_start = '2026-11-23 10:75:00.000000'",
        "update trial_user_attributes set value_json = '7' where key = 'holder'",
        "delete from trial_user_attributes where key = 'beat'",
    ],
)
def test_a_damaged_queue_is_refused_in_a_sentence(url, damage):
    database = Database(url)
    database.create_new_trial(
        queueing.made_queue(database, "small"), queueing.entry()
    )  # as of a driver that was killed
    with sqlite3.connect(url.removeprefix("sqlite:///")) as rows:
        rows.execute(damage)
    with pytest.raises(Mistake, match=r"the queue of drivers .* was never written by kdsearch"):
        holder_of(Database(url), "small")
