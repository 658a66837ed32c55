"""`kdsearch gc`: what nobody needs goes, what somebody may need stays, also while a search runs."""

import json
import os
import threading
import time

import pandas as pd
import pytest

from kdsearch import api, cli
from kdsearch.events import SearchBegan
from kdsearch.lease import only_driver
from kdsearch.mistakes import Mistake
from kdsearch.upkeep.doctor import diagnose
from kdsearch.upkeep.garbage import collect_garbage
from kdsearch.workspace import Workspace
from tests.upkept import TIMES

pytestmark = pytest.mark.xdist_group("upkeep")  # the search that they share is made by one process, once


@pytest.fixture
def root(searched, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return searched.copy(tmp_path / "runs")


def named(folder):
    return {path.name for path in folder.iterdir()}


def test_what_a_waiting_trial_needs_stays_and_the_search_goes_on_to_the_same_table(searched, root):
    place = Workspace(root)
    starts = len(list(place.starts("small").iterdir()))
    freed = collect_garbage("small", pruned=True, signals=True, students="front", idle_seconds=0, workspace=root)
    assert freed.files["starts"] == starts - 1, "that of the trial under way stays"
    assert freed.files["signals"] == 1
    assert place.checkpoint("small", 2).exists()
    front = set(api.open_study("small", workspace=root).front.index)
    assert {int(name[6:11]) for name in named(root / "small" / "students") if name.startswith("trial")} == front
    assert diagnose("small", workspace=root, track=False).clean, "students that were freed are not missing"
    searched.assert_goes_on(root)


def test_a_dry_run_frees_nothing_and_says_what_would_go(root, capsys):
    def files():
        driver = ("driver.lock", "driver.txt")
        return {path: path.stat().st_mtime_ns for path in root.rglob("*.*") if path.name not in driver}

    before = files()
    assert cli.main(["gc", "--workspace", str(root), "--dry-run", "--students", "front", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["dry_run"]
    assert said["kinds"]["starts"]["files"] >= 1
    assert said["mb"] == pytest.approx(sum(kind["mb"] for kind in said["kinds"].values()), abs=0.01)
    assert before == files()
    assert cli.main(["gc", "--workspace", str(root)]) == 0
    assert "MB  freed" in capsys.readouterr().out
    assert collect_garbage(workspace=root).files == {}, "the second time there is nothing"


def test_students_that_are_to_be_kept_are_kept(root):
    table = api.open_study("small", workspace=root).frame
    dominated = [int(n) for n in table[(table["state"] == "complete") & ~table["on_front"]].index]
    assert "dominated students" not in collect_garbage(students="front", keep=dominated, workspace=root).files
    with pytest.raises(Mistake, match="students to be kept must be all or front, got 'none'"):
        collect_garbage(students="none", workspace=root)


def test_beside_a_driver_only_what_it_never_looks_at_goes(root):
    place = Workspace(root)
    for number in (0, 9):  # of a trial that is over; of one that the driver may be about to add
        place.checkpoint("small", number).write_bytes(b"torn")
    place.student("small", 9).write_bytes(b"torn")
    aged, fresh = (root / "small" / "starts" / f".start.{end}" for end in ("abcdefgh", "abcdefg1"))
    aged.touch()
    fresh.touch()
    os.utime(aged, (time.time() - 7200,) * 2)
    with only_driver(root / "small"):
        freed = collect_garbage("small", pruned=True, signals=True, workspace=root)
    assert freed.files == {"checkpoints": 1, "temporary files": 1}
    assert not place.checkpoint("small", 0).exists()
    assert not aged.exists()
    assert fresh.exists()


def test_a_local_search_beside_which_it_runs_all_the_time_ends_as_without(searched, tmp_path):
    root, ended, faults = tmp_path / "runs", threading.Event(), []

    def again_and_again():
        while not ended.wait(0.1):
            try:
                collect_garbage("small", pruned=True, signals=True, students="front", workspace=root)
            except Exception as error:
                faults.append(error)

    thread = threading.Thread(target=again_and_again)

    def begin(happening):
        if isinstance(happening, SearchBegan):
            thread.start()

    options = {"workers": 1, "confirm": False, "track": False, "listeners": [begin]}
    try:
        found = api.run(searched.path, workspace=root, **options).frame
    finally:
        ended.set()
        thread.join()
    assert faults == []
    drop = [*TIMES]
    pd.testing.assert_frame_equal(found.drop(columns=drop), searched.table.drop(columns=drop))
    assert {int(name[6:11]) for name in named(root / "small" / "students") if name.startswith("trial")} >= set(
        found[found["on_front"]].index
    )
