"""A small, seeded slice of `python -m benchmarks.bad_input`: no traceback, one message, and nothing lost."""

import shutil
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import bad_cases
from benchmarks.bad_files import write_data_files
from benchmarks.bad_ground import STUDY, called, commanded, kept_work, lost, made_ground
from kdsearch import Distil, Mistake
from kdsearch.prepare import draft
from kdsearch.source import Source
from kdsearch.workspace import Workspace


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A finished study and its export, which no attempt may change."""
    made = made_ground(tmp_path_factory.mktemp("bad"), small=True)
    before = kept_work(made)
    yield made
    assert lost(before, kept_work(made)) == []


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Reports are written to the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDSEARCH_CACHE", str(tmp_path / "cache"))


def tried(make, count: int, folder: Path) -> None:
    for number in range(count):
        at = folder / f"{make.__name__}-{number}"
        at.mkdir()
        said, attempt = make(Random(f"test {number}"), at)
        outcome = attempt()
        assert outcome.ended != "traceback", f"{said}\n{outcome.said}"


@pytest.mark.parametrize(("kind", "count"), [("database", 8), ("export_folder", 16), ("recipe_file", 6), ("flags", 8)])
def test_what_is_spoiled_is_refused_with_one_message(ground, tmp_path, kind, count):
    def make(random, at):
        return getattr(bad_cases, kind)(random, ground, at)

    tried(make, count, tmp_path)


def test_spoiled_data_are_read_or_refused(tmp_path):
    write_data_files(tmp_path / "good")
    (tmp_path / "good" / "pictures.zip").unlink()
    shutil.rmtree(tmp_path / "good" / "pictures")  # they are decoded by a program of their own, half a second each

    def make(random, at):
        return bad_cases.data_file(random, tmp_path / "good", at)

    tried(make, 20, tmp_path)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planned")
    (folder / "small.py").write_text(STUDY, encoding="utf-8")
    return draft(Source(path=folder / "small.py"), Workspace.chosen(folder / "runs"))


@settings(max_examples=100)
@given(seed=st.integers(0, 10**9))
def test_fields_of_any_value_make_a_recipe_a_study_or_a_mistake(planned, seed):
    for make in (bad_cases.recipe, bad_cases.study_value):
        said, attempt = make(Random(seed), planned)
        outcome = attempt()
        assert outcome.ended != "traceback", f"{said}\n{outcome.said}"


def test_a_traceback_a_wrong_status_and_a_loss_would_be_seen(ground, tmp_path):
    assert called(lambda: Distil(temperature=-1)).ended == "refused"
    assert called(lambda: 1 / 0).ended == "traceback"
    assert called(lambda: (_ for _ in ()).throw(Mistake(""))).ended == "traceback"
    assert commanded(["status", "nothing", "--workspace", str(ground.runs)]).ended == "refused"
    assert commanded(["status", "small", "--workspace", str(ground.runs)]).ended == "taken"
    before = kept_work(ground)
    assert len(before) > 10 and lost(before, before) == []
    assert lost(before, {**before, "trials 1": "other"}) == ["trials 1"]
    assert lost({"a": "1"}, {}) == ["a"]
