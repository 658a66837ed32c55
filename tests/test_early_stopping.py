"""Searches with early stopping, shared starts and budgets, on real studies in this process."""

import dataclasses
import re

import optuna
import pytest
import torch
from optuna.trial import TrialState

from kdsearch import api
from kdsearch.events import TrialBegan, TrialWaits
from kdsearch.executors.engine import Engine
from kdsearch.history import Tried
from kdsearch.mistakes import Mistake
from kdsearch.search import search as drive
from kdsearch.source import Source
from kdsearch.stopping import MOASHA
from kdsearch.workspace import Workspace
from tests.studies_for_tests import write_study

EARLY = ("trials=4", 'trials=9, stopping="moasha", sampler="random"')


@pytest.fixture
def search(tmp_path):
    def run(path, **options):
        options = {"engine": "inline", "track": False, "workspace": tmp_path / "runs", **options}
        return api.run(path, **{"confirm": False, **options})

    return run


def test_what_waits_when_the_budget_ends_is_pruned_with_its_results_kept(search, tmp_path):
    heard = []
    results = search(write_study(tmp_path, EARLY), listeners=[heard.append])
    states = [record.state for record in results.records]
    assert set(states) == {"complete", "pruned"}
    assert 1 <= states.count("complete") <= 6, "a third of those at the rung goes on, each time one comes to it"
    for record in results.records:
        start, epochs = record.described["start_epochs"], record.described["epochs"]
        rung = start + 1  # a third of 2 or 3 epochs, rounded up
        assert len(record.curve) == (epochs if record.state == "complete" else rung)
        if record.state == "pruned":
            assert f"MOASHA let it wait after {rung} of {epochs} epochs" in record.reason
            assert record.seconds > 0
    waited = [happening.trial for happening in heard if isinstance(happening, TrialWaits)]
    assert sorted(waited) == list(range(9)), "every trial comes to its first rung"
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{tmp_path / 'runs' / 'optuna.db'}")
    assert [trial.state for trial in study.trials].count(TrialState.PRUNED) == states.count("pruned")
    for trial, record in zip(study.trials, results.records, strict=True):
        if record.state == "pruned":  # what a continued study's sampler sees of it
            assert Tried.of(trial).values == (record.curve[-1]["validation_accuracy"], record.known["parameters"])
    assert results.front.index.isin([r.number for r in results.records if r.state == "complete"]).all()


def test_a_trial_that_paused_ends_as_one_that_never_did(search, tmp_path):
    paused = search(write_study(tmp_path, EARLY))
    path = write_study(tmp_path, ("trials=4", 'trials=9, sampler="random"'), name="whole.py")
    whole = search(path, workspace=tmp_path / "other")
    for record in paused.records:
        twin = whole.records[record.number]
        assert record.params == twin.params
        if record.state == "complete":
            assert record.measured == twin.measured
        for mine, other in zip(record.curve, twin.curve, strict=False):
            assert mine["loss"] == other["loss"]


def test_a_larger_budget_takes_promising_trials_up_again_under_new_numbers(search, tmp_path):
    late = """
@dataclasses.dataclass(frozen=True)
class Late:
    rungs: tuple = (0.5, 1.0)

    def promotable(self, marks):
        return [mark.trial for mark in marks if mark.waiting] if len(marks) >= 5 else []
"""
    path = write_study(tmp_path, ("trials=4", "trials=3, stopping=Late()"), append=late)
    assert [record.state for record in search(path).records] == ["pruned"] * 3
    second = search(path, trials=8)
    again = {record.continues: record for record in second.records if record.continues is not None}
    assert set(again) == {0, 1, 2}
    for pruned, record in again.items():
        before = second.records[pruned]
        assert (before.state, record.state) == ("pruned", "complete")
        assert record.params == before.params
        assert record.seeds == before.seeds
        assert record.curve[: len(before.curve)] == before.curve
        assert record.epochs_trained == len(record.curve) - len(before.curve)


def test_a_search_without_a_rule_goes_on_with_one_that_had_it(search, tmp_path):
    path = write_study(tmp_path, EARLY)
    pruned = [record.number for record in search(path).records if record.state == "pruned"]
    records = search(path, trials=11, stopping="none").records
    assert [record.state for record in records[9:]] == ["complete", "complete"]
    assert [record.number for record in records if record.state == "pruned"] == pruned


def test_an_interrupted_search_keeps_its_waiting_trials(tmp_path):

    path, asked = write_study(tmp_path, EARLY), iter(range(1000))
    ended = drive(
        Source(path=path),
        Workspace.chosen(tmp_path / "runs"),
        engine=Engine(name="inline"),
        stopping=lambda: next(asked) > 30,
    )
    waiting = [record for record in ended.records if record.waiting]
    assert ended.interrupted
    assert waiting
    assert api.status("small", workspace=tmp_path / "runs")["trials"]["paused"] >= len(waiting)
    heard = []
    whole = api.run(
        path, engine="inline", track=False, confirm=False, workspace=tmp_path / "runs", listeners=[heard.append]
    )
    adopted = [h.record.number for h in heard if isinstance(h, TrialBegan) and h.adopted]
    assert {record.number for record in waiting} <= set(adopted)
    undisturbed = api.run(path, engine="inline", track=False, confirm=False, workspace=tmp_path / "other")
    assert [r.state for r in whole.records] == [r.state for r in undisturbed.records]
    assert [r.measured for r in whole.records] == [r.measured for r in undisturbed.records]


SHARED = (
    ('trial.suggest_int("width", 2, 40)', "8"),
    ('trial.suggest_categorical("start", ["none", "pretrain"])', '"pretrain"'),
)


def test_equal_starts_are_trained_once_and_change_no_bit(search, tmp_path):
    path = write_study(tmp_path, *SHARED)
    records = search(path).records
    assert records[0].inherited is None
    assert [(r.inherited.kind, r.inherited.trial, r.inherited.epochs) for r in records[1:]] == [("start", 0, 1)] * 3
    assert all(record.curve[0] == records[0].curve[0] for record in records)
    account = api.status("small", workspace=tmp_path / "runs")["account"]
    assert account["epochs_saved"] == {"early_stopping": 0, "shared_starts": 3}
    assert account["epochs_trained"] == 4 * 3 - 3
    assert account["teacher_passes_saved"] == 8, "two epochs of each trial's distil stage"
    # the same search with the kept start thrown away before each trial
    other = tmp_path / "other"
    for trials in range(1, 5):
        alone = search(path, trials=trials, workspace=other)
        for file in (other / "small" / "starts").iterdir():
            file.unlink()
    assert [record.measured for record in alone.records] == [record.measured for record in records]


def test_parallel_trials_wait_for_a_start_that_one_of_them_trains(search, tmp_path):
    results = search(write_study(tmp_path, *SHARED), engine="local", workers=2)
    assert sum(record.inherited is None for record in results.records) == 1
    assert [record.state for record in results.records] == ["complete"] * 4


def test_a_torn_start_is_trained_again_and_said_so(search, tmp_path):
    path, heard = write_study(tmp_path, *SHARED), []
    search(path, trials=2)
    (start,) = (tmp_path / "runs" / "small" / "starts").iterdir()
    start.write_bytes(start.read_bytes()[:-7])
    results = search(path, trials=4, listeners=[heard.append])
    assert any("trains its start again" in getattr(happening, "text", "") for happening in heard)
    assert [record.inherited is None for record in results.records] == [True, False, True, False]


def test_epochs_and_patience_end_a_search(search, tmp_path):
    path = write_study(tmp_path)
    results = search(path, epochs=5)
    assert len(results.records) == 2, "the second trial was begun after three epochs, the third would be after six"
    assert "6 epochs are trained, of 5" in results.ended.stopped
    results = search(path, trials=40, patience=2)
    assert "has not grown for 2 complete trials" in results.ended.stopped
    volumes = results.frame["hypervolume"].tolist()
    assert volumes[-1] == volumes[-3]


def test_every_trial_says_where_its_seconds_went(search, tmp_path):
    results = search(write_study(tmp_path, *SHARED))
    for record in results.records:
        assert {"distil", "evaluation", "signals", "waiting", "checkpointing"} <= set(record.spent)
        assert all(seconds >= 0 for seconds in record.spent.values())
        assert ("start" in record.spent) == (record.number == 0), "the others were given theirs"
    account = api.status("small", workspace=tmp_path / "runs")["account"]
    assert 0 < account["student_share"] <= account["busy_share"] <= 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('"sometimes"', "stopping must be none, moasha, bound"),
        ("3", "stopping must be a rule with rungs"),
        ("MOASHA(rungs=(0.5, 0.3, 1.0))", "rungs must be rising"),
        ("MOASHA(rungs=(0.3, 0.9))", "ending at 1"),
        ("MOASHA", "got the class MOASHA; write MOASHA()"),
        ("MOASHA(rungs=0.5)", "rungs must be fractions"),
    ],
)
def test_a_wrong_rule_is_one_clear_message(search, tmp_path, wrong, said):
    path = write_study(
        tmp_path,
        ("trials=4", f"trials=4, stopping={wrong}"),
        ("import dataclasses", "import dataclasses\nfrom kdsearch.stopping import MOASHA"),
    )
    with pytest.raises(Mistake, match=re.escape(said)):
        search(path)


def test_a_rule_of_ones_own_is_taken(search, tmp_path):
    assert dataclasses.is_dataclass(MOASHA)
    path = write_study(
        tmp_path,
        ("trials=4", "trials=4, stopping=Everyone()"),
        append="""
@dataclasses.dataclass(frozen=True)
class Everyone:
    rungs: tuple = (0.5, 1.0)

    def promotable(self, marks):
        return [mark.trial for mark in marks if mark.waiting]
""",
    )
    assert [record.state for record in search(path).records] == ["complete"] * 4
    assert torch.get_num_threads() >= 1


OWN = """
@dataclasses.dataclass(frozen=True)
class Own:
    rungs: tuple = {rungs}

    def promotable(self, marks):
        return {promotable}
"""


@pytest.mark.parametrize(
    ("rungs", "promotable", "said"),
    [
        ("(0.9, 0.1)", "[]", "rungs must be rising"),
        ("('x',)", "[]", "rungs must be fractions"),
        ("(0.5, 1.0)", "[99]", "named trial 99, which does not wait"),
    ],
)
def test_a_wrong_rule_of_ones_own_is_one_clear_message(search, tmp_path, rungs, promotable, said):
    own = OWN.format(rungs=rungs, promotable=promotable)
    path = write_study(tmp_path, ("trials=4", "trials=4, stopping=Own()"), append=own)
    with pytest.raises(Mistake, match=re.escape(said)):
        search(path)


def test_a_rule_that_lets_none_go_on_is_said(search, tmp_path):
    heard = []
    own = OWN.format(rungs="(0.5, 1.0)", promotable="[]")
    path = write_study(tmp_path, ("trials=4", "trials=2, stopping=Own()"), append=own)
    results = search(path, listeners=[heard.append])
    assert [record.state for record in results.records] == ["pruned"] * 2
    assert any("Own let none of the 2 trials" in getattr(happening, "text", "") for happening in heard)
    assert not results.ended.failed


def test_an_interrupted_trial_with_a_shared_start_is_not_counted_twice(search, tmp_path):
    path = write_study(tmp_path, *SHARED)
    search(path, trials=1)
    asked = iter(range(100))
    ended = drive(
        Source(path=path),
        Workspace.chosen(tmp_path / "runs"),
        engine=Engine(name="inline"),
        stopping=lambda: next(asked) > 3,
    )
    assert ended.interrupted
    assert all(record.epochs_trained >= 0 for record in ended.records)
    whole = search(path)
    assert [record.epochs_trained for record in whole.records] == [3, 2, 2, 2]
    account = api.status("small", workspace=tmp_path / "runs")["account"]
    assert account["epochs_trained"] == 9


def test_what_the_space_is_wrong_on_costs_one_trial_however_often_it_is_drawn(search, tmp_path):
    path = write_study(
        tmp_path,
        ("trials=4", 'trials=30, sampler="random"'),
        ('trial.suggest_int("width", 2, 40)', 'trial.suggest_int("width", 2, 4)'),
        ('trial.suggest_categorical("start", ["none", "pretrain"])', '"none"'),
        ('trial.suggest_float("temperature", 1, 10, log=True)', "4.0"),
        ('trial.suggest_float("alpha", 0, 1)', "0.9"),
        (
            "def space(trial):\n",
            "def space(trial):\n    if trial.suggest_int('width', 2, 4) == 3 and _searching():\n"
            "        raise RuntimeError('three is unlucky')\n",
        ),
        append="""
def _searching():
    import inspect
    return any(frame.function == "propose" for frame in inspect.stack())
""",
    )
    results = search(path)
    assert sorted(record.state for record in results.records) == ["complete", "complete", "failed"]
    assert "no new recipe" in results.ended.stopped
