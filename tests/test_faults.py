"""The campaign of faults and the soak: what they hold a search to, and one fault that is real."""

import argparse
import multiprocessing
from random import Random

import pytest

from benchmarks import fault_driver, fault_kinds, faults, soak
from benchmarks.fault_account import Account, Fault
from benchmarks.fault_lane import Verdict, table
from benchmarks.fault_search import Search


def begun(trial, epoch):
    return {"event": "segment_began", "trial": trial, "epoch": epoch}


def kept(trial, epoch, at=0.0):
    return {"event": "kept", "trial": trial, "epoch": epoch, "at": at}


def ended(trial, accuracy):
    time = "1970-01-01T00:01:40+00:00"
    return {
        "event": "trial_ended",
        "trial": trial,
        "state": "complete",
        "measured": {"accuracy": accuracy},
        "time": time,
    }


def taken_in(*events):
    account = Account()
    for event in events:
        account.take_in(event)
    return account


def test_a_segment_is_repeated_where_its_checkpoint_or_result_was_stored():
    assert not taken_in(begun(1, 0), kept(1, 1), begun(1, 1), begun(1, 1), kept(1, 2), begun(1, 2)).repeated
    assert taken_in(begun(1, 0), begun(1, 0)).in_flight_again == 1
    assert len(taken_in(begun(1, 0), kept(1, 1), begun(1, 0)).repeated) == 1
    assert len(taken_in(begun(1, 0), kept(1, 1), ended(1, 0.5), begun(1, 1)).repeated) == 1


def test_what_a_fault_spoilt_may_begin_again():
    account = taken_in(begun(1, 0), kept(1, 1), begun(2, 0), kept(2, 1))
    account.spoilt(1)
    for trial in (1, 2):
        account.take_in(begun(trial, 0))
    assert len(account.repeated) == 1 and account.repeated[0].startswith("trial 2")


def test_a_result_told_twice_must_be_the_same():
    assert not taken_in(ended(1, 0.5), ended(1, 0.5)).told_otherwise
    assert taken_in(ended(1, 0.5), ended(1, 0.6)).told_otherwise == {1}


def test_recovery_is_the_time_to_the_next_finished_segment():
    account = taken_in(kept(1, 1, at=10.0), kept(1, 2, at=40.0), ended(1, 0.5))
    account.faults += [Fault(kind="a", at=9.0), Fault(kind="b", at=15.0), Fault(kind="c", at=41.0)]
    account.faults.append(Fault(kind="d", at=100.5))  # nothing was left to do
    assert account.recovery_seconds() == [1.0, 25.0, 59.0]


@pytest.mark.parametrize("wrong", [("--faults", "0"), ("--minutes", "-1"), ("--without", "sqlite"), ("--keep", "/")])
def test_the_campaign_refuses_wrong_use(wrong, capsys):
    with pytest.raises(SystemExit) as refused:
        faults.main([*wrong])
    assert refused.value.code == 2 and wrong[0] in capsys.readouterr().err


def test_the_soak_refuses_too_few_trials(capsys):
    with pytest.raises(SystemExit) as refused:
        soak.main(["--trials", "10"])
    assert refused.value.code == 2 and "at least 400" in capsys.readouterr().err


def test_a_campaign_without_postgresql_is_refused_with_one_line_unless_it_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr("tests.postgres._programs", lambda: None)
    with pytest.raises(SystemExit) as refused:
        faults.main(["--without", "ray"])
    said = capsys.readouterr().err
    assert refused.value.code == 2 and "--without postgresql" in said and said.count("\n") == 1
    assert faults.absent(["ray", "postgresql"]) is None


def test_a_driver_killed_within_a_segment_has_lost_nothing_that_it_told(tmp_path, monkeypatch):
    monkeypatch.setattr(fault_driver, "_processes", multiprocessing.get_context("fork"))  # what is imported is there
    nobody = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    search = Search(tmp_path / "a", tmp_path / "logs", Random(0), engine="inline", environment=nobody, trials=2)
    (search.orders / "seconds").write_text("0.02")
    search.begin()
    while not search.account.told and not search.over():
        search.waits(0.1)
    search.order("kill")  # the driver trains the students itself
    search.faulted("driver killed")
    while not search.over():
        search.waits(0.1)
    assert search.ended == ["-9: "]
    found = table(search)
    assert {number: (row[0], row[2]) for number, row in found.items() if number in search.account.told} == (
        search.account.told
    )
    assert len(found) == 2 and not search.account.repeated
    verdict = Verdict(search=search, ended=True, told_lost=1, differing=0, unnamed=0, tracebacks=0)
    given = argparse.Namespace(faults=1, quick=False, minutes=None)
    shown = {figure.name: figure for figure in faults.figures([verdict], given)}
    assert [name for name, figure in shown.items() if figure.holds is False] == [
        "inline, SQLite: told results lost",
        "all: told results lost",
    ]


def test_a_damaged_file_is_another_file_so_that_who_has_it_open_reads_it_whole(tmp_path):
    search = Search(tmp_path / "a", tmp_path / "logs", Random(0), engine="inline")
    place = search.study_folder / "signals"
    place.mkdir(parents=True)
    (place / "logits.npy").write_bytes(b"whole" * 100)
    (kind,) = (kind for kind in fault_kinds.KINDS if kind.name == "signals damaged")
    with (place / "logits.npy").open("rb") as reader:
        search.chance.random = lambda: 1.0  # no driver to be killed before
        assert kind.give(search, fault_kinds.Ground())
        assert reader.read() == b"whole" * 100
    assert (place / "logits.npy").read_bytes() != b"whole" * 100
    assert [path.name for path in place.iterdir()] == ["logits.npy"]
    assert [fault.kind for fault in search.account.faults] == ["signals damaged"]
