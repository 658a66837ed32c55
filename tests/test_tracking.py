"""The mirror against real MLflow stores."""

import dataclasses
import json
import shutil
import sqlite3
import time

import pytest

from kdsearch import api
from kdsearch.events import TrialBegan
from kdsearch.mistakes import Mistake
from kdsearch.tracking import run_links
from kdsearch.workspace import Workspace
from tests.studies_for_tests import with_moods, write_study


@pytest.fixture
def runs_of(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MLflow keeps the artifacts of a database that is not the workspace's in ./mlruns
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def read(uri):
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("small")
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        parents = [run for run in runs if run.data.tags["kdsearch.role"] == "search"]
        trials = {int(r.data.tags["kdsearch.trial"]): r for r in runs if r.data.tags["kdsearch.role"] == "trial"}
        assert len(parents) + len(trials) == len(runs), "one run to a trial"
        assert len(parents) == 1
        return client, parents[0], trials

    return read


def run(path, workspace, **options):
    return api.run(path, workspace=workspace, engine="inline", **{"complain": pytest.fail, "confirm": False, **options})


def test_every_trial_is_a_child_run_with_recipe_curves_and_figures(tmp_path, runs_of):
    path = write_study(
        tmp_path,
        with_moods("good", "fails"),
        ("trials=4", 'trials=3, first=[{"mood": "good", "start": "pretrain"}, {"mood": "fails"}]'),
    )
    results = run(path, tmp_path / "runs")
    client, parent, trials = runs_of(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    assert sorted(trials) == [0, 1, 2]
    first, record = trials[0], results.records[0]
    assert first.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert first.info.start_time >= parent.info.start_time, "the UI nests by time of creation"
    params = first.data.params
    assert float(params["soft_weight"]) == record.params["alpha"]
    assert float(params["hard_weight"]) == pytest.approx(1 - record.params["alpha"])
    assert (params["family"], params["start"], params["epochs"]) == ("Mine", "pretrain", "3")
    assert params["seed_distil"] == str(record.seeds["distil"])
    metrics = first.data.metrics
    assert metrics["accuracy"] == record.measured["accuracy"]
    assert metrics["parameters"] == record.known["parameters"]
    assert metrics["share_of_teacher"] == record.known["parameters"] / results.facts.teacher["parameters"]
    assert {"macs", "seconds", "size_kb"} <= set(metrics)
    history = {
        key: [(point.step, point.value) for point in client.get_metric_history(first.info.run_id, key)]
        for key in ("pretrain/hard", "distil/soft", "distil/hard", "distil/validation_accuracy")
    }
    assert [step for step, _ in history["pretrain/hard"]] == [1]
    assert [step for step, _ in history["distil/soft"]] == [2, 3], "the distil stage follows the start"
    assert history["distil/validation_accuracy"][-1][1] == record.curve[-1]["validation_accuracy"]
    assert [artifact.path for artifact in client.list_artifacts(first.info.run_id)] == ["recipe.json"]
    assert (first.info.status, trials[1].info.status, parent.info.status) == ("FINISHED", "FAILED", "FINISHED")
    assert "no more patience" in trials[1].data.tags["kdsearch.reason"]
    assert {a.path for a in client.list_artifacts(parent.info.run_id)} == {"front.csv", "growth.html", "pareto.html"}


def test_tags_and_figures_say_where_each_trial_stands(tmp_path, runs_of):
    path = write_study(tmp_path)
    run(path, tmp_path / "runs", trials=2)
    results = run(path, tmp_path / "runs", trials=5)
    _, _, trials = runs_of(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    on_front = {number for number, trial in trials.items() if trial.data.tags["kdsearch.on_front"] == "true"}
    assert on_front == set(results.front.index), "also where a trial of the first run has lost its place"
    assert on_front == {number for number, trial in trials.items() if trial.data.tags["kdsearch.rank"] == "0000"}
    teacher = results.facts.teacher["accuracy"]
    for record in results.records:
        trial = trials[record.number]
        below = trial.data.metrics["points_below_teacher"]
        assert below == pytest.approx(100 * (teacher - record.measured["accuracy"]))
        assert (trial.data.tags["kdsearch.family"], trial.data.tags["kdsearch.start"]) == (
            "Mine",
            trial.data.params["start"],
        )
        size = f"{record.known['parameters']:,}"
        assert trial.info.run_name == f"trial {record.number:04d} Mine {size} {trial.data.params['start']}"
        assert (trial.data.tags["mlflow.source.name"], trial.data.tags["mlflow.source.type"]) == ("small.py", "LOCAL")


def test_the_experiment_names_the_study_and_the_search_its_inputs(tmp_path, runs_of):
    path = write_study(tmp_path, ('"""A small study for tests.', '"""A small <script>study</script>.'))
    results = run(path, tmp_path / "runs", trials=1)
    client, parent, _ = runs_of(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    tags = client.get_experiment_by_name("small").tags
    note = tags["mlflow.note.content"]
    assert note.startswith("`kdsearch report small` writes reports/small/index.html")
    assert "\n    A small <script>study</script>." in note, "indented, so text to Markdown"
    assert tags["kdsearch.study_id"] == results.facts.id
    assert results.facts.id in json.loads(tags["mlflow.sharedViewState.kdsearch"])["searchFilter"]
    (data,) = parent.inputs.dataset_inputs
    assert data.dataset.name == results.facts.data["name"]
    assert results.facts.data["fingerprint"].startswith(data.dataset.digest)
    (teacher,) = client.get_run(parent.info.run_id).inputs.model_inputs
    model = client.get_logged_model(teacher.model_id)
    assert (model.name, model.status) == ("teacher", "READY")
    assert model.params["parameters"] == str(results.facts.teacher["parameters"])


def test_the_pages_are_there_while_the_search_goes_on(tmp_path, runs_of):
    path, seen = write_study(tmp_path, with_moods("slow")), []

    def look(happening):
        if isinstance(happening, TrialBegan) and happening.record.number == 1:  # by now the first has ended
            deadline = time.monotonic() + 60
            while not (found := list((tmp_path / "runs" / "artifacts").rglob("pareto.html"))):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            seen.extend(found)

    run(path, tmp_path / "runs", trials=2, listeners=[look])
    assert seen


def test_runs_have_addresses_by_trial(tmp_path, runs_of, monkeypatch):
    path = write_study(tmp_path)
    results = run(path, tmp_path / "runs", trials=2)
    place = Workspace(tmp_path / "runs")
    _, _, trials = runs_of(place.tracking_uri)
    links = run_links(place, results.facts, "http://me:SECRET@127.0.0.1:5000/")
    pages = f"http://127.0.0.1:5000/#/experiments/{trials[0].info.experiment_id}/runs"
    assert links == {number: f"{pages}/{trial.info.run_id}" for number, trial in trials.items()}
    assert run_links(place, dataclasses.replace(results.facts, id="another"), "https://host") == {}
    assert run_links(Workspace(tmp_path / "empty"), results.facts, "https://host") == {}
    with pytest.raises(Mistake, match="must begin with http"):
        run_links(place, results.facts, "javascript:alert(1)")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Mistake, match="server cannot be asked"):
        run_links(place, results.facts, "https://host")


def test_a_continued_search_adds_to_its_runs_and_repeats_none(tmp_path, runs_of):
    path = write_study(tmp_path)
    run(path, tmp_path / "runs", trials=2)
    run(path, tmp_path / "runs", trials=3)
    client, _, trials = runs_of(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    assert sorted(trials) == [0, 1, 2]
    for trial in trials.values():
        assert len(client.get_metric_history(trial.info.run_id, "accuracy")) == 1


def test_what_a_store_missed_is_filled_in_by_a_later_run(tmp_path, runs_of):
    path = write_study(tmp_path)
    untracked = run(path, tmp_path / "runs", trials=3, track=False)
    run(path, tmp_path / "runs", trials=4)
    _, _, trials = runs_of(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    assert sorted(trials) == [0, 1, 2, 3]
    assert trials[1].data.metrics["accuracy"] == untracked.records[1].measured["accuracy"]


def test_mirroring_half_a_trial_twice_gives_one_whole_run(tmp_path, runs_of):
    path = write_study(tmp_path)
    run(path, tmp_path / "runs", trials=2)
    database = tmp_path / "runs" / "mlflow.db"
    with sqlite3.connect(database) as connection:  # as if the mirror had died just before its last word on each
        connection.execute("delete from tags where key = 'kdsearch.mirrored'")
        connection.execute("delete from metrics where key = 'accuracy'")
    run(path, tmp_path / "runs", trials=2)
    client, _, trials = runs_of(f"sqlite:///{database}")
    for trial in trials.values():
        for key in ("accuracy", "distil/loss", "parameters"):
            points = client.get_metric_history(trial.info.run_id, key)
            assert len(points) == len({(point.step, point.timestamp) for point in points}) > 0


@pytest.mark.parametrize("uri", ["http://me:SECRET@127.0.0.1:9", "sqlite:////proc/no/such/folder/mlflow.db"])
def test_a_store_that_is_away_stops_nothing_and_is_told_once(tmp_path, runs_of, monkeypatch, uri):
    path = write_study(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said = []
    results = run(path, tmp_path / "runs", trials=2, complain=said.append)
    assert [record.state for record in results.records] == ["complete"] * 2
    assert len(said) == 1
    assert "a later run fills in what is missing" in said[0] and "SECRET" not in said[0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    run(path, tmp_path / "runs", trials=2)
    _, _, trials = runs_of(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    assert sorted(trials) == [0, 1]


def test_a_new_study_of_an_old_name_does_not_take_over_its_runs(tmp_path, runs_of):
    path = write_study(tmp_path)
    run(path, tmp_path / "runs", trials=1)
    (tmp_path / "runs" / "optuna.db").unlink()
    with pytest.raises(Mistake, match=r"another study of that name, in another database .1 files in students"):
        run(path, tmp_path / "runs", trials=1)
    shutil.rmtree(tmp_path / "runs" / "small")
    run(path, tmp_path / "runs", trials=1)
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    assert len(client.search_runs([experiment.experiment_id])) == 4  # two searches, a trial each


def test_runs_on_fresh_seeds_are_children_of_a_kind_of_their_own(tmp_path):
    from mlflow import MlflowClient

    path = write_study(tmp_path)
    options = {"workspace": tmp_path / "runs", "engine": "inline", "complain": pytest.fail}
    api.run(path, confirm=False, **options)
    for _ in range(2):  # mirroring twice adds nothing
        results = api.confirm_study("small", seeds=2, **options)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small").experiment_id
    runs = client.search_runs([experiment], "tags.`kdsearch.role` = 'confirm'", max_results=1000)
    (parent,) = client.search_runs([experiment], "tags.`kdsearch.role` = 'search'")
    assert len(runs) == len(results.confirmed.records)
    assert parent.info.status == "FINISHED"
    client.delete_tag(runs[0].info.run_id, "kdsearch.mirrored")  # as where a writer was cut off in the middle
    api.confirm_study("small", seeds=2, **options)
    again = client.search_runs([experiment], "tags.`kdsearch.role` = 'confirm'", max_results=1000)
    assert {run.info.run_id for run in again} == {run.info.run_id for run in runs}
    assert all(run.data.tags["kdsearch.mirrored"] == "whole" for run in again)
    tests = sorted(run.data.metrics["test_accuracy"] for run in runs)
    assert tests == sorted(record.measured["test_accuracy"] for record in results.confirmed.records)
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent.info.run_id}
    assert {run.data.tags["kdsearch.fresh_seed"] for run in runs} == {"0", "1"}
    trials = client.search_runs([experiment], "tags.`kdsearch.role` = 'trial'")
    gains = {int(run.data.tags["kdsearch.trial"]): run.data.metrics.get("gain_over_alone") for run in trials}
    found = results.frame["gain"].dropna().to_dict()
    assert {number: gain for number, gain in gains.items() if gain is not None} == pytest.approx(found)
    assert found
    assert "findings.csv" in {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    curve = client.get_metric_history(runs[0].info.run_id, "distil/validation_accuracy")
    assert [point.step for point in curve] in ([1, 2, 3], [2, 3])
