"""Recipes trained anew: to the bit what the search trained, interrupted or not; and on more data."""

import dataclasses
import shutil

import pytest
import torch

import kdsearch
from kdsearch import api, cli, metrics
from kdsearch.confirm import recipe_of
from kdsearch.data.views import Views
from kdsearch.events import AnewBegan, AnewEpoch, Note
from kdsearch.export.anew import on_both, train_anew
from kdsearch.files import load_tensors, save_tensors
from kdsearch.mistakes import Mistake, UserCodeError
from kdsearch.recipe import Recipe
from kdsearch.stored import prepared_of
from kdsearch.students import MLP
from kdsearch.training import StopRequestedError
from kdsearch.trial import Seeds
from kdsearch.workspace import Workspace
from tests.studies_for_tests import write_study

pytestmark = pytest.mark.xdist_group("anew")  # what they share is made by one process, once

ALIKE = ('Mine(width=trial.suggest_int("width", 2, 40))', "MLP(width=8, depth=1)")
LATE = """
@dataclasses.dataclass(frozen=True)
class Late:
    rungs: tuple = (0.5, 1.0)

    def promotable(self, marks):
        return [mark.trial for mark in marks if mark.waiting] if len(marks) >= 4 else []
"""
ALONE = {"formats": ["safetensors"]}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A study whose trials share their starts, and some of which continue pruned ones; its workspace and records."""
    folder = tmp_path_factory.mktemp("anew")
    path = write_study(folder, ALIKE, ("trials=4", "trials=2, stopping=Late()"), append=LATE)
    options = {"workspace": folder / "runs", "engine": "inline", "track": False, "confirm": False}
    api.run(path, **options)
    return folder / "runs", api.run(path, trials=7, **options).records


@pytest.fixture
def place(searched, tmp_path):
    """A copy of the study's workspace, to be spoiled."""
    return shutil.copytree(searched[0], tmp_path / "runs")


@pytest.fixture
def prepared(place):
    return prepared_of(api.open_study("small", workspace=place).facts, None, Workspace.chosen(place))


def student_of(place, record):
    return place / "small" / "students" / f"trial-{record.number:05d}.safetensors"


def how(record):
    """Whether a complete trial is its own, goes on from a pruned one, or shares another's start."""
    if record.state != "complete":
        return None
    return record.inherited.kind if record.inherited is not None else "own"


def one(records, kind):
    return next(record for record in records if how(record) == kind)


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("kind", ["own", "start", "trial"])
def test_golden_weights_that_are_gone_are_recreated_to_the_bit(searched, place, tmp_path, kind):
    record = one(searched[1], kind)
    path = student_of(place, record)
    before, notes = load_tensors(path)
    path.unlink()
    for cache in ("starts", "checkpoints", "signals"):  # what may be deleted
        shutil.rmtree(place / "small" / cache, ignore_errors=True)
    with pytest.raises(Mistake, match=r"are gone .*--recreate"):
        kdsearch.export_student("small", tmp_path / "out", trial=record.number, workspace=place)
    options = {**ALONE, "trial": record.number, "workspace": place, "recreate": True}
    exported = kdsearch.export_student("small", tmp_path / "out", **options)
    assert exported.card["metrics"]["validation_accuracy"] == record.measured["accuracy"]
    assert exported.card["trained_on"] == "train"
    again, noted = load_tensors(path)
    assert equal(before, again)
    assert noted == notes
    assert not list((place / "small" / "anew").iterdir()), "nothing is left over"


def test_weights_that_are_whole_are_taken_as_they_are(searched, place, tmp_path):
    record = one(searched[1], "own")
    before = student_of(place, record).stat().st_mtime_ns
    heard = []
    options = {**ALONE, "trial": record.number, "workspace": place, "recreate": True}
    kdsearch.export_student("small", tmp_path / "out", **options, listeners=[heard.append])
    assert student_of(place, record).stat().st_mtime_ns == before
    assert not any(isinstance(event, AnewBegan | AnewEpoch) for event in heard)


def test_weights_that_are_damaged_are_recreated_with_a_note(searched, place, tmp_path):
    record = one(searched[1], "own")
    path = student_of(place, record)
    whole = {name: tensor.clone() for name, tensor in load_tensors(path)[0].items()}  # the file is mapped
    path.write_bytes(path.read_bytes()[:-10])
    heard = []
    options = {**ALONE, "trial": record.number, "workspace": place, "recreate": True}
    kdsearch.export_student("small", tmp_path / "out", **options, listeners=[heard.append])
    assert equal(load_tensors(path)[0], whole)
    assert any(isinstance(event, Note) and "are damaged" in event.text for event in heard)


def test_the_command_shows_the_training_and_says_how_to_ask_for_it(searched, place, tmp_path, capsys):
    record = one(searched[1], "own")
    student_of(place, record).unlink()
    command = ["export", "small", "--trial", str(record.number), "--no-onnx", "--workspace", str(place)]
    assert cli.main([*command, "--to", str(tmp_path / "out")]) == 2
    assert "--recreate trains them again" in capsys.readouterr().err
    assert cli.main([*command, "--to", str(tmp_path / "out"), "--recreate"]) == 0
    said = capsys.readouterr().out
    assert f"the weights of trial {record.number} are gone: it is trained again" in said
    assert f"trial {record.number} again: epoch 3/3, loss" in said
    assert f"validation {record.measured['accuracy']:.2%}" in said


def test_a_recreated_student_of_another_accuracy_is_neither_exported_nor_kept(searched, place, tmp_path):
    record = one(searched[1], "own")
    student_of(place, record).unlink()
    teacher = next(path for path in (place / "small" / "teacher").glob("*.safetensors"))
    tensors, notes = load_tensors(teacher)  # as another machine would have trained it, only more so
    save_tensors(teacher, {name: -part if part.ndim == 2 else part for name, part in tensors.items()}, notes)
    shutil.rmtree(place / "small" / "signals")
    options = {**ALONE, "trial": record.number, "workspace": place, "recreate": True}
    with pytest.raises(Mistake, match=r"the search saw [\d.]+% \(\d+ of 150 examples\).*--retrain"):
        kdsearch.export_student("small", tmp_path / "out", **options)
    assert not student_of(place, record).exists()
    assert not (tmp_path / "out").exists()


def test_an_interrupted_training_goes_on_to_the_same_bits(searched, place, prepared):
    record = one(searched[1], "start")
    expected, _ = load_tensors(student_of(place, record))
    recipe = recipe_of(prepared, record)
    heard = []

    def call(epochs):
        ended = iter([False] * (epochs - 1) + [True] * 9)
        return train_anew(
            prepared,
            recipe,
            Seeds(**record.seeds),
            trial=record.number,
            tell=heard.append,
            stopping=lambda: next(ended),
        )

    for _ in range(2):
        with pytest.raises(StopRequestedError):
            call(1)
    kept = next((place / "small" / "anew").iterdir())
    torn = kept.read_bytes()[:-1]
    trained = call(9)
    assert equal(trained.weights, expected)
    assert trained.accuracy == record.measured["accuracy"]
    assert [event.epoch for event in heard if isinstance(event, AnewBegan)] == [0, 1, 2]
    assert [event.line["stage"] for event in heard if isinstance(event, AnewEpoch)] == ["pretrain", "distil", "distil"]
    kept.write_bytes(torn)
    assert equal(call(9).weights, expected)
    assert [event.epoch for event in heard if isinstance(event, AnewBegan)][3:] == [0], "what is torn is thrown away"
    assert any(isinstance(event, Note) and "begins again" in event.text for event in heard)


def test_what_cannot_be_trained_says_why(prepared):
    seeds = Seeds(start=1, distil=2)
    wild = Recipe(student=Mood(mood="nan"), epochs=2)
    with pytest.raises(Mistake, match=r"trial 7 cannot be trained again: diverged"):
        train_anew(prepared, wild, seeds, trial=7)
    with pytest.raises(UserCodeError, match=r"cannot be trained again: RuntimeError: the weather is bad"):
        train_anew(prepared, dataclasses.replace(wild, student=Mood(mood="bad")), seeds, trial=7)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mood:
    mood: str

    def build(self, in_shape, classes):
        if self.mood == "bad":
            raise RuntimeError("the weather is bad")
        network = MLP(width=4, depth=1).build(in_shape, classes)
        network.register_forward_hook(lambda module, given, output: output * float("nan"))
        return network


def test_retraining_learns_from_both_splits_under_the_same_teacher(searched, place, prepared, tmp_path):
    record = one(searched[1], "own")
    before = {path: path.read_bytes() for path in (place / "small").glob("*/*.safetensors")}
    both = on_both(prepared)
    logits = both.signals.logits(Views(both.data)).view(0)
    member = prepared.teacher.members[0]
    told = metrics.logits(member, prepared.data, prepared.data.validation)
    torch.testing.assert_close(logits[0, 200:], told)
    assert logits.shape == (1, 350, 10)

    heard = []
    options = {**ALONE, "trial": record.number, "workspace": place}
    exported = kdsearch.export_student("small", tmp_path / "out", **options, retrain=True, listeners=[heard.append])
    assert exported.card["trained_on"] == "train and validation"
    assert exported.card["metrics"]["validation_accuracy"] is None
    lines = [event.line for event in heard if isinstance(event, AnewEpoch)]
    assert len(lines) == 3 and not any("validation_accuracy" in line for line in lines)
    assert exported.card["input"]["mean"] == prepared.data.statistics[0].squeeze(0).tolist()
    student = kdsearch.load(exported.folder, raw_inputs=True)
    test = prepared.data.test
    right = int((student(test.inputs).argmax(1) == test.labels).sum())
    assert exported.card["metrics"]["test_accuracy"] == right / 150
    assert {path: path.read_bytes() for path in before} == before, "neither teacher nor searched student has changed"

    heard.clear()
    kdsearch.export_student("small", tmp_path / "twice", **options, retrain=True, listeners=[heard.append])
    assert not any(isinstance(event, AnewEpoch) for event in heard), "it is trained once"
    first, again = (load_tensors(tmp_path / name / "student.safetensors")[0] for name in ("out", "twice"))
    assert equal(first, again)
    with pytest.raises(Mistake, match="give one of the two"):
        kdsearch.export_student("small", tmp_path / "out", **options, retrain=True, recreate=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counting:
    """A family whose students note how many examples each batch of training has."""

    width: int = 4

    def build(self, in_shape, classes):
        network = MLP(width=self.width, depth=1).build(in_shape, classes)
        network.register_forward_pre_hook(lambda module, given: SEEN.append(len(given[0])) if module.training else None)
        return network


SEEN = []


def test_retraining_sees_every_example_of_both_splits_once_an_epoch(prepared):
    recipe = Recipe(student=Counting(), epochs=2)
    seen = []
    for trained_on in ("train", "train and validation"):
        SEEN.clear()
        train_anew(prepared, recipe, Seeds(start=1, distil=2), trial=0, trained_on=trained_on)
        seen.append(sum(SEEN))
    assert seen == [2 * 200, 2 * (200 + 150)]
