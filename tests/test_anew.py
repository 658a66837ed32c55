"""Recipes trained anew: to the bit what the search trained, interrupted or not; and on more data."""

import shutil

import pytest
import torch

import kdsearch
from kdsearch import api
from kdsearch.files import load_tensors
from kdsearch.mistakes import Mistake
from kdsearch.stored import prepared_of
from kdsearch.workspace import Workspace
from tests.studies_for_tests import write_study

ALIKE = ('Mine(width=trial.suggest_int("width", 2, 40))', "MLP(width=8, depth=1)")
LATE = """
@dataclasses.dataclass(frozen=True)
class Late:
    rungs: tuple = (0.5, 1.0)

    def promotable(self, marks):
        return [mark.trial for mark in marks if mark.waiting] if len(marks) >= 4 else []
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A study whose trials share their starts, and of which some continue pruned ones; its folder and its records."""
    folder = tmp_path_factory.mktemp("anew")
    path = write_study(folder, ALIKE, ("trials=4", "trials=2, stopping=Late()"), append=LATE)
    options = {"workspace": folder / "runs", "engine": "inline", "track": False, "confirm": False}
    api.run(path, **options)
    return folder, api.run(path, trials=7, **options).records


@pytest.fixture
def place(searched, tmp_path):
    """A copy of the study's workspace, to be spoiled."""
    shutil.copytree(searched[0] / "runs", tmp_path / "runs")
    return tmp_path / "runs"


def student_of(place, number):
    return place / "small" / "students" / f"trial-{number:05d}.safetensors"


def prepared_in(place):
    facts = api.open_study("small", workspace=place).facts
    return prepared_of(facts, None, Workspace.chosen(place))


def how(record):
    """Whether a trial is its own, goes on from a pruned one, or shares another's start."""
    if record.state != "complete":
        return None
    return record.inherited.kind if record.inherited is not None else "own"


def one(records, kind):
    return next(record for record in records if how(record) == kind)


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("kind", ["own", "start", "trial"])
def test_weights_that_are_gone_are_recreated_to_the_bit(searched, place, tmp_path, kind):
    record = one(searched[1], kind)
    path = student_of(place, record.number)
    before, notes = load_tensors(path)
    path.unlink()
    with pytest.raises(Mistake, match=r"are gone .*--recreate"):
        kdsearch.export_student("small", tmp_path / "out", trial=record.number, workspace=place)
    for shared in ("starts", "checkpoints"):
        shutil.rmtree(place / "small" / shared, ignore_errors=True)
    exported = kdsearch.export_student(
        "small", tmp_path / "out", trial=record.number, workspace=place, formats=["safetensors"], recreate=True
    )
    assert exported.card["metrics"]["validation_accuracy"] == record.measured["accuracy"]
    after, again = load_tensors(path)
    assert same(before, after)
    assert again == notes
    assert not list((place / "small" / "anew").iterdir()), "nothing is left over"
