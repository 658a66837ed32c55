"""`kdsearch delete`, and what the doctor says of MLflow: one tracked study, deleted beside another in the end."""

import shutil
import threading
import time
from types import SimpleNamespace

import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from kdsearch import api, cli, driving
from kdsearch.database import UsurpedError
from kdsearch.driving import leased
from kdsearch.lease import AtWorkError, only_driver
from kdsearch.mistakes import Mistake
from kdsearch.opening import open_database, open_storage
from kdsearch.store import Store
from kdsearch.upkeep import deleting
from kdsearch.upkeep.deleting import delete_study
from kdsearch.upkeep.doctor import diagnose
from kdsearch.upkeep.garbage import collect_garbage
from kdsearch.upkeep.packing import archive_study
from kdsearch.upkeep.restoring import restore_study
from kdsearch.upkeep.rows import Rows
from kdsearch.watching import Rhythm
from kdsearch.workspace import Workspace
from tests.studies_for_tests import write_study


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("delete")
    root = folder / "runs"
    path = write_study(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr("tempfile.tempdir", str(folder))
        api.run(path, workspace=root, engine="inline", trials=2, confirm=False, complain=pytest.fail)
        shutil.copytree(root, folder / "copied")
        yield SimpleNamespace(path=path, root=root, client=MlflowClient(tracking_uri=Workspace(root).tracking_uri))


def trials_of(tracked):
    experiment = tracked.client.get_experiment_by_name("small").experiment_id
    runs = tracked.client.search_runs([experiment], "tags.`kdsearch.role` = 'trial'")
    return experiment, {run.data.tags["kdsearch.trial"]: run for run in runs}


def test_mlflow_is_compared_run_by_run_and_made_what_the_study_is(tracked):
    assert diagnose(workspace=tracked.root).flaws == ()
    experiment, runs = trials_of(tracked)
    tags = {**runs["0"].data.tags, "kdsearch.trial": "77"}
    tracked.client.create_run(experiment, tags=tags)  # extra
    tracked.client.create_run(experiment, tags=runs["0"].data.tags)  # double
    tracked.client.log_metric(runs["1"].info.run_id, "accuracy", 2.0, step=1)  # differing
    found = diagnose("small", workspace=tracked.root)
    assert sorted(flaw.kind for flaw in found.left) == ["mlflow differing", "mlflow double", "mlflow extra"]
    assert diagnose("small", repair=True, workspace=tracked.root).clean
    tracked.client.delete_run(trials_of(tracked)[1]["1"].info.run_id)
    assert [flaw.kind for flaw in diagnose("small", workspace=tracked.root).left] == ["mlflow missing"]
    assert diagnose("small", repair=True, workspace=tracked.root).clean
    assert diagnose(workspace=tracked.root).flaws == ()
    _, again = trials_of(tracked)
    records = api.open_study("small", workspace=tracked.root).records
    assert {number: run.data.metrics["accuracy"] for number, run in again.items()} == {
        str(record.number): record.measured["accuracy"] for record in records
    }


def test_a_copied_workspace_keeps_its_artifacts_where_it_was_and_is_told(tracked):
    found = diagnose("small", workspace=tracked.root.parent / "copied")
    assert ([flaw.kind for flaw in found.left], found.clean) == (["mlflow elsewhere"], True)
    assert tracked.root.as_uri() in found.left[0].what


def test_no_wrong_clock_has_a_study_altered_that_is_driven(tracked, tmp_path, monkeypatch):
    """The driver's clock is two minutes behind ours; only the database is shared."""
    root = shutil.copytree(tracked.root.parent / "copied", tmp_path / "runs")
    elsewhere = {"workspace": tmp_path / "other", "storage": Workspace(root).storage_url}
    database, now = open_database(elsewhere["storage"], create=False), time.time
    late = threading.current_thread()
    monkeypatch.setattr(driving.time, "time", lambda: now() + 120 * (threading.current_thread() is late))
    beating = Rhythm(beat_seconds=0.05)
    with leased(database, "small", tell=pytest.fail, stopping=lambda: False, rhythm=beating):
        while driving.holder_of(database, "small") is not None:
            time.sleep(0.05)  # until its first beat by its own clock
        for alter in (
            lambda: delete_study("small", **elsewhere),
            lambda: diagnose("small", repair=True, track=False, workspace=root),
            lambda: archive_study("small", tmp_path / "small.zip", workspace=root),
        ):
            with pytest.raises(AtWorkError, match="another run of the study 'small' is at work: process"):
                alter()
        assert "signals" not in collect_garbage("small", signals=True, idle_seconds=0, workspace=root).files
    assert len(api.open_study("small", workspace=root).records) == 2


def test_a_driver_that_slept_while_its_study_was_deleted_is_told_and_harms_nothing(tracked, tmp_path, monkeypatch):
    root = shutil.copytree(tracked.root.parent / "copied", tmp_path / "runs")
    url, quick = Workspace(root).storage_url, Rhythm(look_seconds=0.05, dead_after_seconds=0.2)
    asleep, said = open_database(url, create=False), []
    rhythm = Rhythm(beat_seconds=3600)
    with leased(asleep, "small", tell=pytest.fail, stopping=lambda: False, rhythm=rhythm) as lease:
        store = Store(asleep.cached(), "small")
        delete_study("small", say=said.append, rhythm=quick, workspace=tmp_path / "other", storage=url)
        other = open_database(url, create=False)
        assert Rows(other).all_names() == {}
        anew = other.create_new_study([StudyDirection.MAXIMIZE], "small")
        running = create_trial(state=TrialState.RUNNING)
        while other.create_new_trial(anew, running) < lease._trial:
            pass  # SQLite gives a number again that was the lease's
        for use in (
            store.records,
            lambda: store.fail(1, "late", [], {}),
            lambda: asleep.set_trial_user_attr(1, "a", 0),
        ):
            with pytest.raises(UsurpedError, match="taken over by another run, or deleted"):
                use()
    assert ["whether it lives" in said[0], "taking over" in said[-1]] == [True, True]
    assert {trial.state for trial in other.get_all_trials(anew)} == {TrialState.RUNNING}
    assert not any(trial.user_attrs for trial in other.get_all_trials(anew))


def test_two_who_delete_a_study_from_two_workspaces_both_come_to_an_end(tracked, tmp_path, monkeypatch):
    root = shutil.copytree(tracked.root.parent / "copied", tmp_path / "runs")
    url, alone = Workspace(root).storage_url, deleting.alone

    def late(*args, **options):
        monkeypatch.setattr(deleting, "alone", alone)
        assert any("trials from the database" in line for line in delete_study("small", workspace=root))
        return alone(*args, **options)

    monkeypatch.setattr(deleting, "alone", late)
    said = delete_study("small", workspace=tmp_path / "other", storage=url)
    assert "removed 0 trials from the database" in said
    assert Rows(open_database(url, create=False)).all_names() == {}


def test_a_study_is_deleted_whole_beside_others_and_restored_again(tracked, tmp_path, monkeypatch):
    place, name = Workspace(tracked.root), "small"
    other = place.study("other")
    shutil.copytree(place.study(name), other)
    storage = open_storage(place.storage_url, create=False)
    foreign = storage.create_new_study([], "theirs")
    store = Store(storage, name)
    store.ledger.note_teacher(0.5)
    archive = archive_study(name, tmp_path / "small.zip", workspace=tracked.root)
    table = api.open_study(name, workspace=tracked.root).frame
    with only_driver(place.study(name)), pytest.raises(Mistake, match="another run of the study"):
        delete_study(name, workspace=tracked.root)
    with pytest.raises(Mistake, match="was not made by kdsearch"):
        delete_study("theirs", workspace=tracked.root)
    with pytest.raises(Mistake, match="there is no study 'nothing' here; there are: small"):
        delete_study("nothing", workspace=tracked.root)
    with pytest.raises(Mistake, match="part of its own"):
        delete_study("artifacts", workspace=tracked.root)
    assert cli.main(["delete", name, "--workspace", str(tracked.root)]) == 2, "no terminal, no --yes"
    # a tracking server that is away leaves it half deleted, and that does not look whole
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(Mistake, match="is only half deleted"):
            delete_study(name, workspace=tracked.root)
    for refused in (
        lambda: api.status(name, workspace=tracked.root),
        lambda: api.run(tracked.path, workspace=tracked.root, engine="inline", track=False),
    ):
        with pytest.raises(Mistake, match=f"was being deleted, which was interrupted; `kdsearch delete {name}`"):
            refused()
    assert "study condemned" in [flaw.kind for flaw in diagnose(track=False, workspace=tracked.root).flaws]
    assert cli.main(["delete", name, "--yes", "--workspace", str(tracked.root)]) == 0
    assert not place.study(name).exists()
    assert not (place.artifacts / name).exists()
    assert Rows(open_database(place.storage_url, create=False)).all_names() == {"theirs": foreign}
    assert tracked.client.get_experiment_by_name(name) is None
    assert other.exists(), "another study's folder"
    said = []
    restored = restore_study(archive, workspace=tracked.root, say=said.append)
    assert len(said) == 1 and str(tracked.path) in said[0], "its study file, and nothing of MLflow"
    assert restored.frame.equals(table)
    assert sorted(trials_of(tracked)[1]) == ["0", "1"]
    assert diagnose(name, workspace=tracked.root).flaws == ()
