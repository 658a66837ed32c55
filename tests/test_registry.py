"""Exported students in a real MLflow store: one for all tests."""

import dataclasses
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import kdsearch
from kdsearch import api
from kdsearch.cli import main
from kdsearch.export import FORMATS
from kdsearch.files import file_sha256
from kdsearch.records import StudyFacts
from kdsearch.saved import read_card
from kdsearch.source import Source
from kdsearch.tracking.promotion import Standing, judged
from kdsearch.tracking.registry import register
from kdsearch.workspace import Workspace
from tests.onnx_for_tests import write_onnx
from tests.servers import free_port
from tests.studies_for_tests import write_study

pytestmark = pytest.mark.xdist_group("registry")  # what they share is made by one process, once

# its first trial is the worse one: two hidden units cannot tell ten digits apart
STUDY = (
    ('Mine(width=trial.suggest_int("width", 2, 40))', 'MLP(width=trial.suggest_int("width", 2, 40), depth=1)'),
    ("epochs=3,", "epochs=20,"),
    ("trials=4", 'trials=2, first=[{"width": 2, "start": "none"}, {"width": 40, "start": "pretrain"}]'),
)


@dataclasses.dataclass
class Made:
    """A tracked study, and its trials' exports with an ONNX file by hand."""

    folder: Path
    facts: StudyFacts
    data: kdsearch.Data

    @property
    def workspace(self):
        return Workspace(self.folder / "runs")

    def export(self, trial, *, raw=False, softmax=False):
        """The card and the folder of an export with an ONNX file."""
        folder = self.folder / f"out-{trial}"
        if not folder.exists():
            weights = {"trial": trial, "formats": ["safetensors"], "register": False}
            exported = kdsearch.export_student("small", folder, workspace=self.workspace.root, **weights)
            assert exported.registered is None
        file = self.folder / f"onnx-{trial}-{raw}-{softmax}" / "student.onnx"
        file.parent.mkdir(exist_ok=True)
        write_onnx(file, kdsearch.load(folder), self.data if raw else None, softmax=softmax)
        card = read_card(folder)
        card["files"][file.name] = {
            **{"sha256": file_sha256(file), "bytes": file.stat().st_size, "format": "onnx"},
            "input": "raw" if raw else "normalized",
            "output": "probabilities" if softmax else "logits",
        }
        return card, file.parent

    def register(self, trial, *, force=False, change=lambda card: None, facts=None, **options):
        card, folder = self.export(trial, **options)
        change(card)
        return register(self.workspace, facts or self.facts, card, folder, self.data, force=force)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    path = write_study(folder, *STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        results = api.run(path, workspace=folder / "runs", engine="inline", confirm=False, complain=pytest.fail)
    return Made(folder, results.facts, Source(path=path).load().data())


@pytest.fixture
def client(made, monkeypatch):
    """A client of the store, which MLflow's own loading functions use too."""
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = MlflowClient(tracking_uri=made.workspace.tracking_uri)
    yield client
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)


@pytest.fixture
def store_of_mlflow(made, monkeypatch):
    """Call it for MLflow's own functions to use the store: not before, or the workspace would not be ours."""
    return lambda: monkeypatch.setenv("MLFLOW_TRACKING_URI", made.workspace.tracking_uri)


def test_a_registered_student_is_loaded_as_mlflow_models_are(
    made, client, store_of_mlflow, tmp_path, monkeypatch, capfd
):
    import mlflow

    monkeypatch.chdir(tmp_path)
    before = (mlflow.get_tracking_uri(), mlflow.active_run(), mlflow.get_registry_uri())
    registered = made.register(1)
    assert (mlflow.get_tracking_uri(), mlflow.active_run(), mlflow.get_registry_uri()) == before
    assert tuple(capfd.readouterr()) == ("", ""), "the terminal is ours"
    assert str(registered) == "registered as small version 1, alias best (the first)"

    store_of_mlflow()
    inputs = made.data.normalize(made.data.test.inputs)
    expected = kdsearch.load(made.folder / "out-1")(inputs).detach().numpy()
    model = mlflow.pyfunc.load_model("models:/small@best")
    (found,) = model.predict(inputs.numpy()).values()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert mlflow.onnx.load_model("models:/small/1").graph.node
    assert list(tmp_path.iterdir()) == [], "wherever it is called from"
    signature = model.metadata.signature
    assert [(one.type.name, one.shape) for one in signature.inputs] == [("float32", (-1, 1, 8, 8))]
    assert [(one.type.name, one.shape) for one in signature.outputs] == [("float32", (-1, 10))]
    np.testing.assert_allclose(model.input_example, made.data.normalize(made.data.validation.inputs[:3]), atol=1e-6)
    assert model.metadata.metadata["class_names"] == [str(digit) for digit in range(10)]


def test_it_belongs_to_its_trials_run_and_holds_no_pickle(made, client):
    registered = made.register(1)
    version = client.get_model_version("small", registered.version)
    run = client.get_run(version.run_id)
    assert (run.data.tags["kdsearch.role"], run.data.tags["kdsearch.trial"]) == ("trial", "1")
    (logged,) = [
        model
        for model in client.search_logged_models([run.info.experiment_id])
        if model.artifact_location == version.source
    ]
    assert logged.model_id in [output.model_id for output in run.outputs.model_outputs]
    card, _ = made.export(1)
    assert (
        version.tags.items()
        >= {
            "kdsearch.trial": "1",
            "kdsearch.trained_on": "train",
            "kdsearch.parameters": str(card["metrics"]["parameters"]),
            "kdsearch.validation_accuracy": str(card["metrics"]["validation_accuracy"]),
            "kdsearch.test_accuracy": str(card["metrics"]["test_accuracy"]),
            "kdsearch.data_fingerprint": made.data.fingerprint,
        }.items()
    )
    assert (logged.name, str(logged.status)) == ("student", "READY")
    assert {metric.key: metric.value for metric in logged.metrics} == {
        name: card["metrics"][name] for name in ("validation_accuracy", "test_accuracy")
    }
    place = Path(logged.artifact_location.removeprefix("file://"))
    assert place.is_relative_to(made.workspace.artifacts)
    assert {path.name for path in place.rglob("*")} == {
        *("MLmodel", "model.onnx", "conda.yaml", "python_env.yaml", "requirements.txt"),
        *("input_example.json", "serving_input_example.json"),
    }
    required = (place / "requirements.txt").read_text().split()
    assert [one.split("==")[0] for one in required] == ["mlflow", "onnxruntime", "numpy"]


def test_the_same_student_again_makes_no_new_version(made, client):
    made.register(1)
    again = made.register(1)
    assert str(again) == "already registered as small version 1, alias best (best already)"
    assert made.register(1, softmax=True).version == "2", "a network that gives something else is another"
    assert len(client.search_model_versions("name = 'small'")) == 2


def test_best_moves_to_the_more_accurate_only(made, client):
    first = made.register(0)
    better = made.register(1)
    accuracies = [made.export(trial)[0]["metrics"]["validation_accuracy"] for trial in (0, 1)]
    figures = f"{accuracies[1]:.2%} against {accuracies[0]:.2%}"
    assert str(better) == f"registered as small version 2, alias best (more accurate than version 1: {figures})"
    again = made.register(0)
    assert (again.version, again.new, again.best) == (first.version, False, False)
    assert str(client.get_model_version_by_alias("small", "best").version) == "2"
    forced = made.register(0, force=True)
    assert (forced.best, forced.why) == (True, "best by force, in place of version 2")
    assert str(client.get_model_version_by_alias("small", "best").version) == "1"


def test_what_learned_from_validation_data_is_best_by_force_only(made, client):
    def retrained(card):
        card["metrics"]["validation_accuracy"], card["trained_on"] = None, "train and validation"

    found = made.register(0, change=retrained)
    assert (found.version, found.best) == ("1", False)
    assert "no validation accuracy; --force-best moves it" in found.why
    assert "kdsearch.validation_accuracy" not in client.get_model_version("small", "1").tags
    assert made.register(0, change=retrained, force=True).best
    assert "no validation accuracy to compare with" in made.register(1).why
    assert str(client.get_model_version_by_alias("small", "best").version) == "1"


def test_a_file_that_takes_inputs_as_stored_has_that_signature(made, client, store_of_mlflow):
    import mlflow

    made.register(1, raw=True, softmax=True)
    store_of_mlflow()
    model = mlflow.pyfunc.load_model("models:/small@best")
    (found,) = model.predict(made.data.test.inputs.numpy()).values()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert model.metadata.signature.inputs.inputs[0].type == np.dtype("uint8")


def test_a_study_that_was_not_tracked_gets_a_run_of_its_own(made, client):
    facts = dataclasses.replace(made.facts, name="untracked", id="another")
    first = made.register(0, facts=facts)
    second = made.register(0, facts=facts, softmax=True)
    runs = [client.get_model_version("untracked", one.version).run_id for one in (first, second)]
    assert runs[0] == runs[1]
    run = client.get_run(runs[0])
    assert (run.data.tags["kdsearch.role"], run.info.status) == ("export", "FINISHED")
    assert client.get_experiment(run.info.experiment_id).name == "untracked"


def test_a_model_of_somebody_else_is_left_alone(made, client):
    client.create_registered_model("small", description="mine")
    found = made.register(0)
    assert found.version is None
    assert str(found).startswith("not registered: MLflow has a model small that is not of kdsearch; rename it")
    assert client.search_model_versions("name = 'small'") == []


def test_an_export_stands_whatever_the_store_is(made, tmp_path, monkeypatch):
    foreign, torn = tmp_path / "foreign.db", tmp_path / "torn.db"
    with sqlite3.connect(foreign) as database:
        database.execute("create table mine (a)")
    torn.write_text("this is no database, and is long enough to be seen to be none" * 10)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for uri, why in (
        (f"sqlite:///{foreign}", "another program's database"),
        (f"sqlite:///{torn}", "no MLflow database"),
        (f"http://127.0.0.1:{free_port()}", "MLflow is away"),
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        found = made.register(0)
        assert (found.version, found.best) == (None, False)
        assert why in found.why and "exporting again registers it" in found.why
        assert "\n" not in str(found)


def test_without_the_onnx_file_there_is_nothing_to_register(made, tmp_path, capsys):
    given = ["--workspace", str(made.workspace.root), "--trial", "0", "--no-onnx"]
    assert main(["export", "small", "--to", str(tmp_path), *given]) == 0
    assert "not registered: the registry takes the ONNX file, which this export has not" in capsys.readouterr().out


@pytest.mark.skipif("onnx" not in FORMATS, reason="there is no ONNX format yet")
def test_an_export_registers_its_student(made, client, tmp_path, capsys):
    given = ["--workspace", str(made.workspace.root), "--trial", "0", "--no-safetensors", "--force-best"]
    assert main(["export", "small", "--to", str(tmp_path), *given]) == 0
    assert "registered as small version 1, alias best (best by force)" in capsys.readouterr().out


def standing(version, accuracy, parameters=100, data="d"):
    return Standing(version=version, accuracy=accuracy, parameters=parameters, data=data)


@pytest.mark.parametrize(
    ("new", "best", "moved", "why"),
    [
        (standing("2", 0.5), standing("1", 0.4), True, "more accurate than version 1: 50.00% against 40.00%"),
        (standing("2", 0.4), standing("1", 0.5), False, "stays version 1, which is more accurate"),
        (standing("2", 0.5, 99), standing("1", 0.5), True, "as accurate as version 1 and smaller: 99 parameters"),
        (standing("2", 0.5), standing("1", 0.5), False, "as accurate and no larger"),
        (standing("2", 0.9, data="e"), standing("1", 0.5), False, "measured on other data"),
        (standing("2", 0.9), standing("1", None), False, "no validation accuracy to compare with"),
        (standing("2", None), None, False, "no version is best yet: this one has no validation accuracy"),
        (standing("2", 0.1), None, True, "the first"),
        (standing("1", 0.5), standing("1", 0.5), False, "best already"),
    ],
)
def test_who_is_best_by_hand(new, best, moved, why):
    found, words = judged(new, best, False)
    assert found == moved
    assert why in words
    if best is None or best.version != new.version:
        assert judged(new, best, True)[0]
