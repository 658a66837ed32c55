"""In what a study was made: recorded once for each change, read from studies without it, told where bits may differ."""

import dataclasses
import json

import pytest
import torch

from kdsearch import api
from kdsearch.events import Note
from kdsearch.files import load_tensors, tensors_sha256
from kdsearch.opening import open_storage
from kdsearch.store import Store
from kdsearch.surroundings import Surroundings, last_difference, versions
from kdsearch.workspace import Workspace
from tests.made import facts
from tests.studies_for_tests import write_study


def here(**changes) -> Surroundings:
    known = {"engine": "inline", "workers": None, "seed": 7, "data": "f", "teacher": "k", "at_ms": 1}
    return dataclasses.replace(Surroundings.here(**known), **changes)


@pytest.fixture
def store(tmp_path) -> Store:
    place = Workspace(tmp_path)
    return Store.create(open_storage(place.storage_url, create=True), facts())


def test_what_is_recorded_names_all_that_bits_depend_on():
    found = here()
    assert {"kdsearch", "torch", "numpy", "optuna", "python", "machine", "instructions", "system"} == set(
        found.versions
    )
    assert found.versions["torch"] == torch.__version__ == versions()["torch"]
    assert found.threads == torch.get_num_threads() and found.processor
    assert (found.seed, found.data, found.teacher) == (7, "f", "k")


def test_a_study_has_one_record_for_each_change_and_one_of_an_older_kdsearch_none(store):
    assert store.surroundings() == []
    store.note_surroundings(here())
    store.note_surroundings(here(at_ms=2))
    assert store.surroundings() == [here()]
    other = here(versions={**here().versions, "torch": "9.9"})
    store.note_surroundings(other)
    assert store.surroundings() == [here(), other]
    json.dumps([dataclasses.asdict(one) for one in store.surroundings()])


def test_a_change_that_may_change_bits_is_told_and_another_engine_is_none():
    before = here(versions={**here().versions, "torch": "1.0", "gone": "3"})
    said = last_difference([before], here())
    assert f"torch 1.0, now {torch.__version__}" in said and "gone 3, now none" in said and "other bits" in said
    assert last_difference([before, here()], here(engine="local", workers=4, threads=9)) is None
    assert last_difference([], here()) is None
    assert "processor A, now B" in last_difference([here(processor="A")], here(processor="B"))


def test_golden_a_study_gives_the_same_bits_twice_and_says_where_it_goes_on(tmp_path, monkeypatch):
    """Same study, seed and engine `inline`: every table and every student's file are the same, in two workspaces."""
    path = write_study(tmp_path)
    options = {"engine": "inline", "confirm": False, "track": False, "trials": 2}
    first, second = (api.run(path, workspace=tmp_path / name, **options) for name in ("a", "b"))
    assert essence(first) == essence(second)
    students = [sorted((tmp_path / name / "small" / "students").iterdir()) for name in ("a", "b")]
    assert len(students[0]) == 2
    for mine, theirs in zip(*students, strict=True):
        assert mine.name == theirs.name
        (tensors, notes), (others, other_notes) = load_tensors(mine), load_tensors(theirs)
        assert notes == other_notes and tensors_sha256(tensors) == tensors_sha256(others)
    monkeypatch.setattr(torch, "__version__", "9.9")
    heard = []
    api.run(path, workspace=tmp_path / "a", **options, listeners=[lambda told: heard.append(told)])
    (note,) = [told.text for told in heard if isinstance(told, Note) and "other bits" in told.text]
    assert "now 9.9" in note
    made_with = api.status("small", workspace=tmp_path / "a")["made_with"]
    assert [one["versions"]["torch"] for one in made_with][1:] == ["9.9"]
    assert made_with[0]["data"] and made_with[0]["teacher"] and made_with[0]["seed"] == 0


def essence(results) -> str:
    """All of the table but clocks."""
    clocks = [name for name in results.frame.columns if name.endswith("_ms") or "seconds" in name]
    curves = [[{k: v for k, v in line.items() if k not in CLOCKS} for line in one.curve] for one in results.records]
    return results.frame.drop(columns=clocks).to_csv() + json.dumps(curves)


CLOCKS = ("seconds", "evaluation_seconds", "at_ms")
