import dataclasses
import itertools
import re
import time

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from torch import nn

from kdsearch import MLP, Recipe, Study, Teacher, api, digits, taking
from kdsearch.events import Note, TrialBegan, TrialEnded
from kdsearch.executors.engine import Engine
from kdsearch.mistakes import Mistake, UserCodeError
from kdsearch.opening import open_storage
from kdsearch.search import search as drive
from kdsearch.source import Source
from kdsearch.store import Store
from kdsearch.workspace import Workspace
from tests.studies_for_tests import with_moods, write_study


@pytest.fixture
def search(tmp_path):
    """Run a study file in a workspace of the test's own, without MLflow, in this process unless told otherwise."""

    def run(path, **options):
        options = {"engine": "inline", "track": False, "workspace": tmp_path / "runs", **options}
        return api.run(path, **{"confirm": False, **options})

    return run


def essence(results):
    """What has to be equal between equal searches: everything but the times."""
    return [
        (
            record.number,
            record.state,
            record.params,
            record.recipe,
            record.seeds,
            record.measured,
            [{k: v for k, v in line.items() if "seconds" not in k and k != "at_ms"} for line in record.curve],
        )
        for record in results.records
    ]


def test_every_trial_is_a_full_distillation_and_is_recorded_whole(search, tmp_path):
    results = search(write_study(tmp_path))
    assert [record.state for record in results.records] == ["complete"] * 4
    first = results.records[0]
    assert (first.params["temperature"], first.params["alpha"], first.params["start"]) == (4.0, 0.9, "none")
    assert first.described["soft_weight"] == 0.9
    for record in results.records:
        stages = [line["stage"] for line in record.curve]
        assert len(stages) == 3, "the start's epochs are part of the budget"
        assert stages == (["distil"] * 3 if record.params["start"] == "none" else ["pretrain"] + ["distil"] * 2)
        assert record.known["parameters"] == 75 * record.params["width"] + 10  # 64w + w and 10w + 10
        assert 0 <= record.measured["accuracy"] <= 1
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{tmp_path / 'runs' / 'optuna.db'}")
    assert [trial.values for trial in study.trials] == [
        [record.measured["accuracy"], record.known["parameters"]] for record in results.records
    ]


def test_a_continued_search_equals_an_undisturbed_one_to_the_bit(search, tmp_path):
    path = write_study(tmp_path)
    search(path, trials=3)
    # the default database is SQLite: the second half starts from what a new process would read
    continued = search(path, trials=6)
    whole = search(path, trials=6, workspace=tmp_path / "other")
    assert essence(continued) == essence(whole)


def test_a_search_interrupted_in_the_middle_of_trials_equals_an_undisturbed_one(search, tmp_path, monkeypatch):
    path = write_study(tmp_path)
    asked = iter(range(1000))

    def interrupted():
        # asked between epochs, of the teacher too, and in the driver's loop: says yes from somewhere inside on
        return next(asked) > 12

    first = _search_stopping(path, tmp_path / "runs", interrupted)
    assert first.ended.interrupted
    assert first.records
    assert any(record.state == "running" for record in first.records) or len(first.records) < 4
    assert essence(search(path)) == essence(search(path, workspace=tmp_path / "other"))


def _search_stopping(path, workspace, stopping):
    ended = drive(Source(path=path), Workspace.chosen(workspace), engine=Engine(name="inline"), stopping=stopping)
    return api.Results(ended.facts, ended.records, ended=ended)


def test_local_workers_give_the_bits_that_inline_gives(search, tmp_path):
    path = write_study(tmp_path, ("trials=4", 'trials=4, sampler="random"'))
    inline = search(path)
    local = search(path, engine="local", workers=2, workspace=tmp_path / "other")
    assert essence(inline) == essence(local)


def test_failures_are_recorded_with_their_reason_and_the_study_goes_on(search, tmp_path):
    moods = [{"mood": mood, "start": "pretrain"} for mood in ("good", "fails", "nan", "memory", "exits", "good")]
    listed = with_moods("good", "fails", "nan", "memory", "exits")
    path = write_study(tmp_path, listed, ("trials=4", f"trials=6, first={moods}"))
    notes = []
    results = search(path, listeners=[lambda h: notes.append(h.text) if isinstance(h, Note) else None])
    states = [record.state for record in results.records]
    assert states.count("complete") >= 2
    assert states.count("failed") >= 2
    reasons = {record.params["mood"]: record.reason for record in results.records if record.state == "failed"}
    assert reasons["fails"] == "RuntimeError: no more patience"
    assert "diverged: the loss of stage 'pretrain' was not finite in its epoch 1" in reasons["nan"]
    assert re.match(r"out of memory \(.*lower the student's batch_size or size, or run fewer --work", reasons["memory"])
    assert reasons["exits"] == "SystemExit: 3"
    logs = list((tmp_path / "runs" / "small" / "logs").iterdir())
    assert any("no more patience" in log.read_text() for log in logs)
    assert any(str(logs[0].parent) in note for note in notes)


def test_a_clock_that_jumps_moves_no_duration_and_no_budget(search, tmp_path, monkeypatch):
    path = write_study(tmp_path)
    steady = search(path, workspace=tmp_path / "other")
    wall, jumps = time.time_ns, itertools.cycle((0, -86_400 * 10**9, 7_200 * 10**9))
    monkeypatch.setattr(time, "time_ns", lambda: wall() + next(jumps))
    monkeypatch.setattr(time, "time", lambda: time.time_ns() / 1e9)
    jumping = search(path, minutes=30)
    assert essence(jumping) == essence(steady)
    for record in jumping.records:
        assert all(0 <= seconds < 600 for seconds in record.spent.values())
        assert all(0 <= line[name] < 600 for line in record.curve for name in ("seconds", "evaluation_seconds"))
    assert 0 < jumping.store.sessions()[0].seconds < 600


def test_when_a_trial_was_is_the_same_in_every_time_zone(search, tmp_path, monkeypatch):
    search(write_study(tmp_path), trials=1)

    def times(zone):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        return [(r.began_ms, r.ended_ms) for r in api.open_study("small", workspace=tmp_path / "runs").records]

    try:
        assert times("UTC") == times("Asia/Tokyo") == times("America/New_York")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_is_wrong_with_some_recipes_alone_fails_those_and_the_study_goes_on(search, tmp_path):
    # each is one width in 100,000: the draws that are checked before the search do not meet it
    path = write_study(
        tmp_path,
        ('student = Mine(width=trial.suggest_int("width", 2, 40))', CHOSEN),
        ("trials=4", "trials=4, sampler=Scripted()"),
        append=SCRIPTED,
    )
    results = search(path)
    reasons = {record.params["width"]: (record.state, record.reason) for record in results.records}
    assert reasons[777][0] == reasons[778][0] == "failed"
    assert "ZeroDivisionError" in reasons[777][1]
    assert "has no layer 'hidden9'" in reasons[778][1]
    assert reasons[9] == ("complete", None)
    assert not results.ended.failed


SCRIPTED = """
import optuna

class Scripted(optuna.samplers.RandomSampler):
    widths = iter([9, 777, 778, 10])

    def sample_independent(self, study, trial, name, distribution):
        return next(self.widths) if name == "width" else super().sample_independent(study, trial, name, distribution)
"""
CHOSEN = """student = Mine(width=trial.suggest_int("width", 2, 100_000))
    if student.width == 777:
        1 / 0
    if student.width == 778:
        return Recipe(student=student, start=Hints(epochs=1, student_layer="hidden9"), epochs=3)
    student = dataclasses.replace(student, width=min(student.width, 40))"""


def test_a_student_whose_forward_pass_looks_at_values_can_be_searched(search, tmp_path):
    path = write_study(
        tmp_path,
        (
            '        if self.training and self.mood == "slow":',
            "        if inputs.sum().item() > 1e9:\n            return None\n"
            '        if self.training and self.mood == "slow":',
        ),
    )
    results = search(path, trials=2)
    assert [record.state for record in results.records] == ["complete"] * 2
    assert results.records[0].known["macs"] == 74 * results.records[0].params["width"]


def test_what_is_wrong_is_found_before_the_teacher_is_trained(search, tmp_path):
    path = write_study(tmp_path, ("epochs=3,", "epochs=0,"))
    epochs = []
    with pytest.raises(Mistake, match="epochs must be"):
        search(path, listeners=[epochs.append])
    assert epochs == []


def test_a_teacher_that_diverges_is_the_users_to_mend(search, tmp_path):
    optim = 'epochs=2, optim=Optim(name="sgd", lr=1e30))'
    path = write_study(tmp_path, ("classes), epochs=2)", f"classes), {optim}"))
    with pytest.raises(Mistake, match="the teacher cannot be trained: it diverged"):
        search(path)


def test_whoever_listens_is_told_how_a_search_ended_that_raised(tmp_path):
    heard = []

    def listen(happening):
        heard.append(happening)
        if isinstance(happening, TrialEnded):
            raise RuntimeError("a listener's own fault")

    with pytest.raises(RuntimeError):
        api.run(
            write_study(tmp_path),
            workspace=tmp_path / "runs",
            engine="inline",
            track=False,
            confirm=False,
            listeners=[listen],
        )
    assert heard[-1].failed
    assert not heard[-1].interrupted


def test_a_study_whose_first_trials_all_fail_ends_early_and_says_so(search, tmp_path):
    path = write_study(tmp_path, with_moods("fails"), ("trials=4", "trials=40"))
    results = search(path)
    assert len(results.records) == 5
    assert results.ended.failed
    assert "all failed" in results.ended.stopped


def test_no_recipe_is_trained_twice_and_an_exhausted_space_says_so(search, tmp_path):
    path = write_study(
        tmp_path,
        ('trial.suggest_int("width", 2, 40)', 'trial.suggest_int("width", 2, 4)'),
        ('trial.suggest_float("temperature", 1, 10, log=True)', "2.0"),
        ('trial.suggest_float("alpha", 0, 1)', "0.5"),
        ("trials=4", "trials=40"),
    )
    results = search(path)
    fingerprints = [record.fingerprint for record in results.records]
    assert len(fingerprints) == len(set(fingerprints)) == 6  # three widths by two starts
    assert "no new recipe" in results.ended.stopped


def test_what_is_above_the_limit_is_screened_before_training_and_not_counted(search, tmp_path):
    path = write_study(tmp_path, ("trials=4", 'trials=8, sampler="tpe", max_parameters=1000'))
    results = search(path)
    screened = [record for record in results.records if record.state == "screened"]
    trained = [record for record in results.records if record.state == "complete"]
    assert len(trained) == 8
    assert all(record.known["parameters"] <= 1000 for record in trained)
    assert screened, "widths go to 40, so half of uniform draws are above the limit"
    assert all(not record.curve and "max_parameters" in record.reason for record in screened)
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{tmp_path / 'runs' / 'optuna.db'}")
    pruned = [trial for trial in study.trials if trial.state == TrialState.PRUNED]
    assert [trial.number for trial in pruned] == [record.number for record in screened]
    assert all(trial.constraints["max_parameters"] > 0 for trial in pruned), "so that TPE learns where not to look"


def test_seeds_are_recorded_and_equal_starts_are_seeded_alike(search, tmp_path):
    path = write_study(tmp_path, ('trial.suggest_int("width", 2, 40)', "8"), ("trials=4", "trials=6"))
    records = search(path).records
    by_start = {}
    for record in records:
        by_start.setdefault(record.params["start"], set()).add(record.seeds["start"])
    assert all(len(seeds) == 1 for seeds in by_start.values())
    assert len({record.seeds["distil"] for record in records}) == len(records)


@pytest.mark.parametrize(
    "sampler", ['"size_aware"', '"tpe"', '"nsga2"', '"random"', "__import__('optuna').samplers.QMCSampler()"]
)
def test_any_sampler_fills_the_study(search, tmp_path, sampler):
    path = write_study(tmp_path, ("trials=4", f"trials=5, sampler={sampler}"))
    assert [record.state for record in search(path).records] == ["complete"] * 5


def test_further_objectives_are_measured_and_shape_the_front(search, tmp_path):
    names = '("accuracy", "macro_f1", "macs", "size_kb", "latency_ms")'
    path = write_study(tmp_path, ("trials=4", f"trials=4, objectives={names}"))
    results = search(path)
    for record in results.records:
        assert set(record.measured) >= {"accuracy", "macro_f1", "latency_ms", "macs", "size_kb"}
        assert record.measured["latency_ms"] > 0
        assert record.known["size_kb"] == pytest.approx(4 * record.known["parameters"] / 1000)
        assert record.known["macs"] == 74 * record.params["width"]  # 64w and 10w
    assert results.frame["on_front"].any()


def test_minutes_end_a_search_that_goes_on_later(search, tmp_path):
    path = write_study(tmp_path, with_moods("slow"), ("trials=4", "trials=30"))
    results = search(path, minutes=0.02)
    assert "time" in results.ended.stopped
    assert len(results.records) < 30


def test_the_test_split_is_never_read_by_a_search(search, tmp_path):
    poison = "torch.full_like(whole.test.head(150).inputs, 16)"
    clean = search(write_study(tmp_path))
    replaced = write_study(
        tmp_path,
        ("test=whole.test.head(150)", f"test=Split(inputs={poison}, labels=whole.test.head(150).labels.flip(0))"),
        name="poisoned.py",
    )
    # the teacher's key and with it the seeds do not depend on test labels being right
    assert essence(search(replaced, workspace=tmp_path / "other")) == essence(clean)


def test_a_second_run_on_a_study_at_work_is_refused(search, tmp_path):
    from filelock import FileLock

    path = write_study(tmp_path)
    search(path, trials=1)
    with FileLock(tmp_path / "runs" / "small" / "driver.lock"), pytest.raises(Mistake, match="another run"):
        search(path)


def test_a_study_made_in_python_runs_in_local_workers(tmp_path):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Flat:  # as in a notebook: a class that no worker could import
        width: int

        def build(self, in_shape, classes):
            return nn.Sequential(nn.Flatten(), nn.Linear(64, self.width), nn.ReLU(), nn.Linear(self.width, classes))

    def data():
        return digits()

    def space(trial):
        return Recipe(student=Flat(width=trial.suggest_int("width", 2, 9)), epochs=1)

    def teacher(data):
        return Teacher(build=lambda: MLP(width=8, depth=1).build(data.shape, data.classes), epochs=1)

    study = Study(name="made", data=data, teacher=teacher, space=space, trials=2)
    results = api.run(study, workspace=tmp_path / "runs", track=False, confirm=False, workers=1)
    assert [record.state for record in results.records] == ["complete"] * 2
    exported = taking.export_student(
        "made", tmp_path / "out", study=study, formats=["safetensors"], workspace=tmp_path / "runs"
    )
    assert exported.card["student"]["kind"] == "Flat"


def test_listeners_hear_of_every_trial_in_order(search, tmp_path):
    heard = []
    search(write_study(tmp_path), listeners=[heard.append])
    began = [h.record.number for h in heard if isinstance(h, TrialBegan)]
    ended = [h.record.number for h in heard if isinstance(h, TrialEnded)]
    assert began == ended == [0, 1, 2, 3]


CHANGES = {
    "objectives": ("trials=4", 'trials=4, objectives=("accuracy", "macs")'),
    "seed": ("trials=4", "trials=4, seed=1"),
    "data": ("whole.train.head(200)", "whole.train.head(190)"),
    "teacher": ("ConvNet(width=6, depth=3)", "ConvNet(width=7, depth=3)"),
    "the space no longer fits": ('"temperature", 1, 10', '"temperature", 1, 3'),
    "another recipe": ("epochs=3,", "epochs=4,"),
    "'start' was CategoricalDistribution": ('["none", "pretrain"]', '["none", "pretrain", "hints"]'),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_study_file_that_no_longer_fits_its_trials_is_refused_with_the_remedy(search, tmp_path, what):
    search(write_study(tmp_path), trials=2)
    changed = write_study(tmp_path, CHANGES[what], name="changed.py")
    with pytest.raises(Mistake, match=what) as refused:
        search(changed)
    assert "another name" in str(refused.value)
    assert len(api.open_study("small", workspace=tmp_path / "runs").records) == 2


WRONG = {
    "must return a kdsearch.Recipe": ("return Recipe(student", "return dict(student"),
    "two distributions": ('suggest_float("alpha", 0, 1)', 'suggest_float("temperature", 0, 1)'),
    "temperature must be above 0, got 0": (
        'temperature=trial.suggest_float("temperature", 1, 10, log=True)',
        "temperature=0",
    ),
    r"alpha must be in \[0, 1\], got 1.2": ('alpha=trial.suggest_float("alpha", 0, 1)', "alpha=1.2"),
    "has no layer 'block9'; its hint layers are: block1, block2, block3": (
        '["none", "pretrain"])]',
        '["none", "hints"])] and Hints(epochs=1, teacher_layer="block9")',
    ),
    r"none of \d+ recipes": ("trials=4", "trials=4, max_parameters=20"),
    "first: the space does not suggest depth": ("trials=4", 'trials=4, first=[{"depth": 3}]'),
    "outside of": ("trials=4", 'trials=4, first=[{"width": 300}]'),
    "trials must be above 0": ("trials=4", "trials=0"),
    "sampler must be one of": ("trials=4", 'trials=4, sampler="grid"'),
    "objectives must be": ("trials=4", 'trials=4, objectives=("speed",)'),
    "name must be": ('name="small"', 'name="../up"'),
    "10 classes": ("data.shape, data.classes)", "data.shape, 7)"),
}


@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_study_gets_one_clear_message(search, tmp_path, rule):
    with pytest.raises(Mistake, match=rule):
        search(write_study(tmp_path, WRONG[rule]))


def test_each_reason_is_told_once_where_no_recipe_can_work(search, tmp_path):
    path = write_study(
        tmp_path,
        ('["none", "pretrain"])]', '["none"])] or Hints(epochs=1, teacher_layer="block1", student_layer="body")'),
    )
    with pytest.raises(Mistake) as refused:
        search(path)
    # one reason for each of the widths, eight of them shown
    reasons = [line for line in str(refused.value).split("\n") if "hints cannot join features" in line]
    assert len(reasons) == len(set(reasons)) == 8
    assert "more of the kind" in str(refused.value)


def test_an_error_in_the_users_own_code_keeps_its_traceback(search, tmp_path):
    with pytest.raises(UserCodeError, match=r"space\(\) raised ZeroDivisionError: .*small.py, line \d+, in space") as e:
        search(write_study(tmp_path, ("def space(trial):", "def space(trial):\n    1 / 0")))
    assert "ZeroDivisionError" in e.value.trace
    assert "small.py" in e.value.trace


def test_garbage_and_foreign_databases_are_refused_and_left_alone(search, tmp_path):
    import sqlite3

    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"this is no database" * 100)
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("create table customers (name text)")
    for path, rule in ((garbage, "no database"), (foreign, "another program")):
        before = path.read_bytes()
        with pytest.raises(Mistake, match=rule):
            search(write_study(tmp_path), storage=f"sqlite:///{path}")
        assert path.read_bytes() == before


def test_a_password_in_a_storage_url_is_not_shown():
    with pytest.raises(Mistake) as refused:
        open_storage("postgresql+psycopg://me:secret@127.0.0.1:1/none", create=True)
    assert "secret" not in str(refused.value)


def test_an_optuna_study_of_someone_else_is_not_taken_over(search, tmp_path):
    (tmp_path / "runs").mkdir()
    url = f"sqlite:///{tmp_path / 'runs' / 'optuna.db'}"
    optuna.create_study(study_name="small", storage=url, sampler=RandomSampler())
    with pytest.raises(Mistake, match="not made by kdsearch"):
        search(write_study(tmp_path))
    assert api.studies(workspace=tmp_path / "runs") == []
    with pytest.raises(Mistake, match="there are: small"):
        Store(open_storage(url, create=False), "unknown")
