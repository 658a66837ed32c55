"""The driver dies, or the power: the next run goes on from what is on the disk, and comes to the same."""

import random
from collections import Counter
from pathlib import Path

import pytest

from kdsearch import api, search
from kdsearch.lease import driven
from kdsearch.mistakes import Mistake
from kdsearch.watching import Rhythm
from kdsearch.workspace import Workspace
from tests.crashing import killed_at, listening, logged, stopped_after
from tests.studies_for_tests import write_study
from tests.test_search import essence

INLINE = {"engine": "inline", "confirm": False, "track": False}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    path = write_study(folder, ("trials=4", "trials=5, stopping='moasha'"))
    return path, essence(api.run(path, workspace=folder / "runs", **INLINE))


def test_a_driver_killed_again_and_again_comes_to_what_an_undisturbed_one_does(undisturbed, tmp_path):
    path, whole = undisturbed
    log, kills, chance = tmp_path / "log", 0, random.Random(7)
    told = []
    # about 60 moments of a run go into its beginning, its lease and its end
    while killed_at(chance.randint(40, 140), path, log, workspace=tmp_path / "runs", **INLINE):
        kills += 1
        assert not driven(Workspace(tmp_path / "runs").study("small")), "the lock of a dead driver is free"
        try:
            stored = api.open_study("small", workspace=tmp_path / "runs").records
        except Mistake:
            continue  # it had not come so far
        assert told == essence_of_ended(stored)[: len(told)], "no told result is lost or changed"
        told = essence_of_ended(stored)
    assert kills >= 3
    results = api.open_study("small", workspace=tmp_path / "runs")
    assert essence(results) == whole
    lines = [line for line in logged(log) if "trial" in line]
    repeated = Counter((line["trial"], line["stage"], line["epoch"]) for line in lines)
    assert sum(count - 1 for count in repeated.values()) <= 2 * kills, "at most the segment in flight, of two epochs"


def essence_of_ended(records):
    return [(r.number, r.state, r.measured) for r in records if r.state in ("complete", "pruned", "failed")]


def damage(folder, chance):
    """Cut every other file short or empty its last blocks, as after a lost write-back: but for the database, which has
    its journal, and the teacher, without whom this is another study. Gives their names.
    """
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and ".db" not in p.name and "teacher" not in p.parts]
    damaged = files[chance.randrange(2) :: 2]
    for path in damaged:
        content = path.read_bytes()
        cut = chance.randrange(len(content) + 1)
        path.write_bytes(content[:cut] if chance.random() < 0.5 else content[:cut] + bytes(len(content) - cut))
    return damaged


@pytest.mark.parametrize("seed", [0, 1])
def test_after_a_power_cut_nothing_wrong_is_used_and_what_is_damaged_is_said(undisturbed, tmp_path, seed):
    path, whole = undisturbed
    chance, log, runs = random.Random(seed), tmp_path / "log", tmp_path / "runs"
    assert killed_at(110 + 20 * seed, path, log, workspace=runs, **INLINE)
    kept = [p for p in damage(runs, chance) if p.parent.name == "checkpoints" and not p.name.startswith(".")]
    running = {r.number for r in api.open_study("small", workspace=runs).records if r.state == "running"}
    assert essence(api.run(path, workspace=runs, listeners=[listening(log)], **INLINE)) == whole
    notes = " ".join(line["note"] for line in logged(log) if "note" in line)
    assert all(p.name in notes for p in kept if int(p.stem.removeprefix("trial-")) in running)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads in /proc whether a process stands still")
def test_a_driver_that_was_stopped_for_long_is_replaced_from_another_workspace_and_ends(
    undisturbed, tmp_path, monkeypatch
):
    path, whole = undisturbed
    monkeypatch.setattr(search, "RHYTHM", Rhythm(beat_seconds=3600))  # or it may stop within a beat, a lock in hand
    shared, log = {"storage": f"sqlite:///{tmp_path / 'shared.db'}", **INLINE}, tmp_path / "log"
    with stopped_after(8, path, log, workspace=tmp_path / "a", **shared) as go_on:
        monkeypatch.setattr(search, "RHYTHM", Rhythm(beat_seconds=0.2, look_seconds=0.2, dead_after_seconds=2))
        results = api.run(path, workspace=tmp_path / "b", listeners=[listening(tmp_path / "b.log")], **shared)
        go_on()
    assert essence(results) == whole
    assert essence(api.open_study("small", workspace=tmp_path / "b", storage=shared["storage"])) == whole
    assert any("taking over from process" in line.get("note", "") for line in logged(tmp_path / "b.log"))
    assert "taken" in logged(log)[-1]["note"] and "over" in logged(log)[-1]["note"]
