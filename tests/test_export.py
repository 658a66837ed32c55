import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import kdsearch
from kdsearch import api
from kdsearch.choice import Limits
from kdsearch.export import export
from kdsearch.export.subject import kept
from kdsearch.files import load_tensors, save_tensors
from kdsearch.mistakes import Mistake
from kdsearch.saved import read_card, write_card
from kdsearch.source import Source
from kdsearch.stored import prepared_of, store_of
from kdsearch.training import StopRequestedError
from kdsearch.workspace import Workspace
from tests.studies_for_tests import write_study

pytestmark = pytest.mark.xdist_group("export")  # what they share is made by one process, once

ROOT = Path(__file__).resolve().parents[1]
OURS = ('Mine(width=trial.suggest_int("width", 2, 40))', 'MLP(width=trial.suggest_int("width", 2, 40), depth=1)')

WEIGHTS = ("safetensors",)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished study of one of kdsearch's own families."""
    folder = tmp_path_factory.mktemp("export")
    results = api.run(write_study(folder, OURS), workspace=folder / "runs", engine="inline", track=False, confirm=False)
    return folder, results


@pytest.fixture(scope="module")
def exported(made):
    folder, _ = made
    return kdsearch.export_student("small", folder / "out", pick="accurate", workspace=folder / "runs")


def test_an_export_is_the_trials_own_student_to_the_last_example(made, exported):
    folder, results = made
    record = results.records[exported.card["trial"]]
    assert record.measured["accuracy"] == results.front["accuracy"].max()
    data = Source(path=folder / "small.py").load().data()
    module = kdsearch.load(exported.folder, raw_inputs=True)
    right = int((module(data.validation.inputs).argmax(1) == data.validation.labels).sum())
    assert right == round(record.measured["accuracy"] * 150)
    right_of_test = int((module(data.test.inputs).argmax(1) == data.test.labels).sum())
    assert exported.card["metrics"]["test_accuracy"] == right_of_test / 150
    normalized = kdsearch.load(exported.folder)
    torch.testing.assert_close(normalized(data.normalize(data.test.inputs)), module(data.test.inputs))
    assert not module.training


def test_the_card_says_all_that_was_asked_of_it(made, exported):
    folder, results = made
    card = json.loads((exported.folder / "student.json").read_text())
    record = results.records[card["trial"]]
    assert card["recipe"] == record.recipe
    assert card["student"] == record.recipe["student"]
    assert card["seeds"] == {"study": 0, **record.seeds}
    assert card["metrics"]["parameters"] == record.known["parameters"]
    assert card["teacher"]["test_accuracy"] is not None
    assert set(card["versions"]) == {"kdsearch", "torch", "numpy", "python", "instructions"}
    names = {"README.md", "student.json", "student.safetensors", "student.onnx"}
    assert {path.name for path in exported.folder.iterdir()} == names | {"recipe.json", "study.py"}
    assert str(folder) not in json.dumps(card), "no path of this machine leaves with the student"


def test_loading_needs_torch_and_safetensors_alone(exported):
    code = (
        f"import sys, kdsearch; kdsearch.load({str(exported.folder)!r}); "
        "print(sorted({'optuna', 'mlflow', 'pandas', 'plotly', 'sklearn', 'rich', 'sqlalchemy'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_family_of_the_users_own_is_passed_in(tmp_path):
    path = write_study(tmp_path)
    api.run(path, workspace=tmp_path / "runs", engine="inline", track=False, confirm=False, trials=1)
    kdsearch.export_student("small", tmp_path / "out", trial=0, workspace=tmp_path / "runs", formats=WEIGHTS)
    with pytest.raises(Mistake, match=r"is a Mine, kdsearch has none of that name; pass the class"):
        kdsearch.load(tmp_path / "out")
    family = _family_of(path)
    assert kdsearch.load(tmp_path / "out", family=family) is not None
    with pytest.raises(Mistake, match="family=MLP was given"):
        kdsearch.load(tmp_path / "out", family=kdsearch.MLP)


def _family_of(path):
    from kdsearch.space import draw, run_space

    recipe, _ = run_space(Source(path=path).load().space, draw(0))
    return type(recipe.student)


def test_an_earlier_export_is_replaced_and_nothing_else(made, tmp_path):
    folder, _ = made
    first = kdsearch.export_student("small", tmp_path / "out", trial=0, workspace=folder / "runs", formats=WEIGHTS)
    second = kdsearch.export_student("small", tmp_path / "out", trial=1, workspace=folder / "runs", formats=WEIGHTS)
    assert (first.card["trial"], second.card["trial"]) == (0, 1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(Mistake, match="not empty"):
        kdsearch.export_student("small", tmp_path / "mine", trial=0, workspace=folder / "runs")
    assert (tmp_path / "mine" / "thesis.txt").exists()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(Mistake, match=r"it holds notes.txt; name another"):
        kdsearch.export_student("small", tmp_path / "out", trial=0, workspace=folder / "runs")
    (tmp_path / "file").write_text("")
    with pytest.raises(Mistake, match="is a file"):
        kdsearch.export_student("small", tmp_path / "file", trial=0, workspace=folder / "runs")
    with pytest.raises(Mistake, match="cannot write"):
        kdsearch.export_student("small", tmp_path / "file" / "out", trial=0, workspace=folder / "runs")


def test_an_export_that_fails_its_proof_leaves_nothing_behind(made, tmp_path):
    import shutil

    folder, _ = made
    shutil.copytree(folder / "runs", tmp_path / "runs")
    kept = tmp_path / "runs" / "small" / "students" / "trial-00000.safetensors"
    tensors, notes = load_tensors(kept)
    save_tensors(kept, {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}, notes)
    with pytest.raises(Mistake, match="is not what was searched"):
        kdsearch.export_student("small", tmp_path / "out", trial=0, workspace=tmp_path / "runs", formats=WEIGHTS)
    kept.write_bytes(kept.read_bytes()[:-10])
    with pytest.raises(Mistake, match="damaged"):
        kdsearch.export_student("small", tmp_path / "out", trial=0, workspace=tmp_path / "runs")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_folder_that_is_there_is_filled_and_stays_the_same_folder(made, tmp_path, monkeypatch):
    """A mount, or the current directory, cannot be replaced."""
    folder, _ = made
    (tmp_path / "out").mkdir()
    before = (tmp_path / "out").stat().st_ino
    monkeypatch.chdir(tmp_path / "out")
    options = {"workspace": folder / "runs", "register": False}
    kdsearch.export_student("small", ".", trial=0, formats=["safetensors", "pt2"], **options)
    Path("__pycache__").mkdir()  # what importing its study.py leaves
    kdsearch.export_student("small", ".", trial=1, formats=WEIGHTS, **options)
    assert Path().resolve().stat().st_ino == before
    names = {"README.md", "__pycache__", "recipe.json", "student.json", "student.safetensors", "study.py"}
    assert {path.name for path in Path().iterdir()} == names, "nothing of the export before is left"
    assert kdsearch.load(".") is not None
    Path("student.onnx").mkdir()
    with pytest.raises(Mistake, match=r"it holds student.onnx; name another"):
        kdsearch.export_student("small", ".", trial=0, formats=WEIGHTS, **options)


@pytest.mark.parametrize("step", ["writing student.safetensors", "proving student.safetensors"])
def test_an_export_that_is_stopped_leaves_what_was_there(made, tmp_path, step):
    folder, _ = made
    place = Workspace.chosen(folder / "runs")
    store = store_of("small", place, None)
    subject = kept(prepared_of(store.facts, None, place), store.record(0))
    asked = []
    with pytest.raises(StopRequestedError):
        export(
            subject,
            tmp_path / "out",
            formats=WEIGHTS,
            say=lambda text: asked.append(text.startswith(step)),
            stopping=lambda: any(asked),
        )
    assert not list(tmp_path.iterdir())


def test_limits_that_no_trial_meets_name_the_nearest(made):
    folder, results = made
    smallest, limits = int(results.frame["parameters"].min()), Limits(max_parameters=10)
    with pytest.raises(Mistake, match=f"the nearest is trial .* with {smallest:,} parameters"):
        kdsearch.export_student("small", folder / "none", limits=limits, workspace=folder / "runs")
    with pytest.raises(Mistake, match="either the trial or the limits"):
        kdsearch.export_student("small", folder / "none", trial=0, limits=limits, workspace=folder / "runs")
    with pytest.raises(Mistake, match="no trial 99; it has 0 to 3"):
        kdsearch.export_student("small", folder / "none", trial=99, workspace=folder / "runs")


def test_a_study_that_changed_or_moved_is_not_exported_by_guess(made, tmp_path):
    folder, _ = made
    changed = write_study(tmp_path, OURS, ("epochs=3,", "epochs=4,"))
    with pytest.raises(Mistake, match="no longer gives trial 0's recipe"):
        kdsearch.export_student("small", tmp_path / "out", trial=0, workspace=folder / "runs", study=changed)
    other = write_study(tmp_path, OURS, ("whole.train.head(200)", "whole.train.head(180)"), name="other.py")
    with pytest.raises(Mistake, match="has changed in the data"):
        kdsearch.export_student("small", tmp_path / "out", trial=0, workspace=folder / "runs", study=other)
    with pytest.raises(Mistake, match="say where it is now with --study"):
        kdsearch.export_student(
            "small", tmp_path / "out", trial=0, workspace=folder / "runs", study=tmp_path / "gone.py"
        )


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda card: card["student"].update(kind="os.system"), "kdsearch has none of that name"),
        (lambda card: card["student"].update(kind="Student"), "kdsearch has none of that name"),
        (lambda card: card["student"].update(colour="red"), "has the fields"),
        (lambda card: card["student"].update(width=3000), "cannot be used"),
        (lambda card: card.pop("input"), "lacks what describes"),
    ],
)
def test_a_crafted_card_is_refused_and_imports_nothing(exported, tmp_path, change, rule):
    import shutil

    shutil.copytree(exported.folder, tmp_path / "out")
    card = read_card(tmp_path / "out")
    change(card)
    write_card(tmp_path / "out", card)  # by one who knows how checksums are made
    with pytest.raises(Mistake, match=rule):
        kdsearch.load(tmp_path / "out")
    with pytest.raises(Mistake, match="holds no exported student"):
        kdsearch.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "rule"),
    [
        ("student.json", lambda text: text.replace("few", "many"), "was altered"),
        ("student.json", lambda text: text[:-20], "cannot be read"),
        ("student.json", lambda text: "[" * 100_000, "cannot be read"),
        ("student.json", lambda text: "[]", "was not written by kdsearch"),
        (
            "student.json",
            lambda text: text.replace('"format": 2', '"format": 99'),
            "newer kdsearch .*format 99",
        ),
        ("student.json", lambda text: text.replace('"format": 2', '"format": 1'), "an older kdsearch"),
        ("student.safetensors", lambda text: text[:-1] + chr(ord(text[-1]) ^ 1), "was altered"),
    ],
)
def test_a_torn_or_altered_export_is_refused(exported, tmp_path, file, change, rule):
    import shutil

    shutil.copytree(exported.folder, tmp_path / "out")
    path = tmp_path / "out" / file
    path.write_text(change(path.read_text(encoding="latin-1")), encoding="latin-1")
    with pytest.raises(Mistake, match=rule):
        kdsearch.load(tmp_path / "out")


def test_public_names_stay_what_they_are_after_their_modules_were_imported(exported):
    import kdsearch.export
    import kdsearch.report

    del exported
    from types import ModuleType

    for name in kdsearch.__all__:
        assert not isinstance(getattr(kdsearch, name), ModuleType), name
