"""`recipe.json` and `study.py`: a training repeated elsewhere to the bit, and what is refused."""

import json
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch

import kdsearch
from kdsearch import api, cli
from kdsearch.export.repeatable import FORMAT, read_recipe
from kdsearch.files import load_tensors, tensors_sha256
from kdsearch.mistakes import Mistake, UserCodeError
from kdsearch.plain import digest
from kdsearch.source import Source
from tests.studies_for_tests import write_study

pytestmark = pytest.mark.xdist_group("repeatable")  # what they share is made by one process, once

RUN = "KDSEARCH_TEST_RUN"
CTRL_C = "KDSEARCH_TEST_CTRL_C"
SMALL = ('width=trial.suggest_int("width", 2, 40)', 'width=trial.suggest_int("width", 2, 8)')
# a file that tells of its being run, and a student that presses Ctrl-C once, where it is asked to
TELLING = f"""
if os.environ.get("{RUN}"):
    open(os.environ["{RUN}"], "w").close()
"""
PRESSING = (
    'if self.training and self.mood == "dies":',
    f'''marked = os.environ.get("{CTRL_C}")
        if self.training and marked and os.path.exists(marked):
            os.remove(marked)
            os.kill(os.getpid(), {int(signal.SIGINT)})
        if self.training and self.mood == "dies":''',
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished study, its teacher trained with two threads, and an export of its most accurate student."""
    folder = tmp_path_factory.mktemp("repeatable")
    path = write_study(folder, SMALL, PRESSING, append=TELLING)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        api.run(path, workspace=folder / "runs", engine="inline", track=False, confirm=False)
    finally:
        torch.set_num_threads(threads)
    exported = kdsearch.export_student(
        "small", folder / "out", pick="accurate", formats=["safetensors"], workspace=folder / "runs"
    )
    return folder, exported


@pytest.fixture
def out(made, tmp_path):
    """A copy of the export, and nothing of what it was made from."""
    return shutil.copytree(made[1].folder, tmp_path / "out")


@pytest.fixture
def train(tmp_path, capsys):
    """Run the command in a workspace of its own; gives the exit status and what it said."""

    def run(*arguments):
        options = ("--no-onnx", "--workspace", tmp_path / "elsewhere")
        status = cli.main(["train", *map(str, arguments), *map(str, options)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return status, said.out + said.err

    return run


def changed(out, **changes):
    """Alter `recipe.json` as one would who knows how checksums are made."""
    content = {**json.loads((out / "recipe.json").read_text()), **changes}
    content["sha256"] = digest({name: part for name, part in content.items() if name != "sha256"})
    (out / "recipe.json").write_text(json.dumps(content))


def test_an_export_has_what_its_training_is_repeated_from(made):
    folder, exported = made
    written, card = read_recipe(exported.folder / "recipe.json"), exported.card
    assert (exported.folder / "study.py").read_text() == (folder / "small.py").read_text()
    for name in ("trial", "params", "recipe", "seeds", "trained_on", "study"):
        assert getattr(written, name) == card[name], name
    assert written.data == {name: card["data"][name] for name in ("name", "fingerprint")}
    assert written.teacher == {"key": card["teacher"]["key"], "threads": 2}
    assert written.accuracy == card["metrics"]["validation_accuracy"]
    weights, _ = load_tensors(exported.folder / "student.safetensors")
    assert written.weights == tensors_sha256(weights)
    assert {"torch", "python", "instructions"} <= set(written.versions)
    assert {"recipe.json", "study.py"} <= set(card["files"])
    assert str(folder) not in (exported.folder / "recipe.json").read_text()


def test_golden_a_training_is_repeated_in_an_empty_workspace_to_the_bit(made, out, train, tmp_path):
    status, said = train(out / "recipe.json", "--to", tmp_path / "again")
    assert status == 0, said
    assert f"trained trial {made[1].card['trial']} of small again: the same weights, to the bit" in said
    before, _ = load_tensors(made[1].folder / "student.safetensors")
    after, _ = load_tensors(tmp_path / "again" / "student.safetensors")
    assert tensors_sha256(before) == tensors_sha256(after)
    for name in ("study.py", "recipe.json"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    _, notes = load_tensors(next((tmp_path / "elsewhere" / "small" / "teacher").glob("*.safetensors")))
    assert notes["threads"] == 2, "the teacher had as many threads as then"
    note = next((tmp_path / "elsewhere" / "small" / "signals").glob("logits-*.json"))
    assert json.loads(note.read_text())["threads"] == 2, "and when it was asked"
    assert torch.get_num_threads() == 1, "and nothing else has"
    assert not (tmp_path / "elsewhere" / "optuna.db").exists()


def test_a_retrained_student_is_repeated_too(made, tmp_path, train, capsys):
    folder, exported = made
    options = ("--trial", exported.card["trial"], "--retrain", "--no-onnx", "--workspace", folder / "runs")
    assert cli.main(["export", "small", "--to", str(tmp_path / "more"), *map(str, options)]) == 0
    said = capsys.readouterr().out
    assert "trained again on training plus validation data: its accuracy is from the test split only" in said
    assert re.search(r"safetensors +[\d,]+ +[\d.]+ +[\d.]+%  +0?[\d.]+ ", said), (
        "no accuracy on what it has learned from"
    )
    written = read_recipe(tmp_path / "more" / "recipe.json")
    assert (written.trained_on, written.accuracy) == ("train and validation", None)
    status, said = train(tmp_path / "more")
    assert status == 0, said
    assert "the same weights, to the bit" in said


def test_ctrl_c_keeps_what_is_trained_and_the_same_command_goes_on(out, train, tmp_path, monkeypatch):
    monkeypatch.setenv(CTRL_C, str(tmp_path / "mark"))
    (tmp_path / "mark").touch()
    status, said = train(out)
    assert status == 130
    assert "interrupted; everything is kept, and the same command goes on from there" in said
    assert len(list((tmp_path / "elsewhere" / "small" / "anew").iterdir())) == 1
    status, said = train(out)
    assert status == 0, said
    assert "the same weights, to the bit" in said


def test_other_weights_are_told_with_what_is_not_as_it_was(made, out, train, tmp_path):
    seeds, versions = made[1].card["seeds"], read_recipe(out / "recipe.json").versions
    changed(out, seeds={**seeds, "distil": 1}, versions={**versions, "torch": "1.0"})
    status, said = train(out)
    assert status == 1
    assert "other weights than were exported, " in said and "apart at most" in said
    assert f"torch {torch.__version__}, then 1.0" in said
    assert "validation accuracy" in said
    (out / "student.safetensors").unlink()
    status, said = train(out, "--to", tmp_path / "again")
    assert status == 1
    assert "apart" not in said
    assert kdsearch.load(tmp_path / "again", family=_mine(out)) is not None, "exported all the same, as what it is"
    assert read_recipe(tmp_path / "again" / "recipe.json").seeds["distil"] == 1


def _mine(out):
    from kdsearch.space import draw, run_space

    return type(run_space(Source(path=out / "study.py").load().space, draw(0))[0].student)


def test_a_study_file_that_was_altered_is_not_run(out, train, tmp_path, monkeypatch):
    monkeypatch.setenv(RUN, str(tmp_path / "ran"))
    study = out / "study.py"
    study.write_text(study.read_text() + "\n# a word more\n")
    status, said = train(out)
    assert status == 2
    assert "study.py was altered" in said and "it is not run" in said
    assert not (tmp_path / "ran").exists()
    status, said = train(out, "--study", study)  # which says that it is trusted
    assert status == 0, said
    assert (tmp_path / "ran").exists()
    study.unlink()
    assert train(out)[0] == 2


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda text: text.replace('"distil"', '"distill"', 1), "was altered"),
        (lambda text: text[:-40], "cannot be read"),
        (lambda text: "[" * 100_000, "cannot be read"),
        (lambda text: "[]", "was not written by kdsearch"),
        (lambda text: text.replace(f'"format": {FORMAT}', '"format": 99'), r"another kdsearch \(0.*format 99"),
    ],
)
def test_a_torn_or_altered_recipe_is_refused_and_runs_nothing(out, tmp_path, monkeypatch, change, rule):
    monkeypatch.setenv(RUN, str(tmp_path / "ran"))
    path = out / "recipe.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(Mistake, match=rule):
        kdsearch.train_recipe(path, workspace=tmp_path / "elsewhere")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "elsewhere").exists()


def test_a_recipe_that_lacks_parts_names_them(out, tmp_path):
    changed(out, seeds={"distil": 1}, weights=None)
    with pytest.raises(Mistake, match=r"lacks what a training is repeated from \(seeds, weights\)"):
        kdsearch.train_recipe(out, workspace=tmp_path / "elsewhere")
    with pytest.raises(Mistake, match=r"there is no .*recipe\.json"):
        kdsearch.train_recipe(tmp_path / "recipe.json")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("whole.train.head(200)", "whole.train.head(180)", r"the data \(few, whose examples are others"),
        ("epochs=2)", "epochs=3)", "the teacher "),
        ("epochs=3,", "epochs=4,", "the recipe that the space gives"),
    ],
)
def test_a_study_that_is_not_what_it_was_is_named_before_anything_is_trained(out, tmp_path, old, new, named):
    path = write_study(tmp_path, SMALL, PRESSING, (old, new))
    with pytest.raises(Mistake, match=f"cannot be repeated here, as these are not what they were: {named}"):
        kdsearch.train_recipe(out, study=path, workspace=tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere" / "small" / "teacher").exists()


def test_what_a_study_file_needed_beside_it_is_asked_for(tmp_path):
    (tmp_path / "a_neighbour.py").write_text("WIDTH = 4\n")
    path = write_study(
        tmp_path, (SMALL[0], "width=a_neighbour.WIDTH"), ("import os\n", "import os\nimport a_neighbour\n")
    )
    options = {"workspace": tmp_path / "runs", "formats": ["safetensors"]}
    api.run(path, workspace=tmp_path / "runs", engine="inline", track=False, confirm=False, trials=1)
    exported = kdsearch.export_student("small", tmp_path / "deep" / "out", trial=0, **options)
    import sys

    sys.modules.pop("a_neighbour")
    sys.path[:] = [part for part in sys.path if Path(part) != tmp_path]
    with pytest.raises(UserCodeError, match=r"No module named 'a_neighbour'.*name it there with --study FILE"):
        kdsearch.train_recipe(exported.folder, workspace=tmp_path / "elsewhere")
    assert kdsearch.train_recipe(exported.folder, study=path, workspace=tmp_path / "elsewhere").same


def test_a_study_without_a_file_is_given_again(tmp_path):
    path = write_study(tmp_path, ('Mine(width=trial.suggest_int("width", 2, 40))', "MLP(width=8, depth=1)"))
    study = Source(path=path).load()
    api.run(study, workspace=tmp_path / "runs", engine="inline", track=False, confirm=False, trials=1)
    exported = kdsearch.export_student(
        "small", tmp_path / "out", trial=0, formats=["safetensors"], workspace=tmp_path / "runs", study=study
    )
    assert not (exported.folder / "study.py").exists()
    with pytest.raises(Mistake, match="made in a notebook or a script"):
        kdsearch.train_recipe(exported.folder, workspace=tmp_path / "elsewhere")
    assert kdsearch.train_recipe(exported.folder, study=study, workspace=tmp_path / "elsewhere").same
