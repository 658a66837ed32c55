"""The driver dies, or the power: the next run goes on from what is on the disk, and comes to the same."""

import random
import shutil
from collections import Counter

import pytest

from kdsearch import api
from kdsearch.events import SegmentEnded
from kdsearch.lease import driven
from kdsearch.mistakes import Mistake
from kdsearch.workspace import Workspace
from tests.crashing import killed_at, listening, logged
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


def copied(source, target, chance):
    """Copy a folder as it stands in this moment, what has no name yet included; every other file is cut short or has
    lost blocks, as after a lost write-back, but for the databases, whose journal is theirs to trust.
    """
    shutil.copytree(source, target)
    files = [p for p in sorted(target.rglob("*")) if p.is_file() and p.suffix != ".db" and "teacher" not in p.parts]
    damaged = files[chance.randrange(2) :: 2]
    for path in damaged:
        content = path.read_bytes()
        cut = chance.randrange(len(content) + 1)
        path.write_bytes(content[:cut] if chance.random() < 0.5 else content[:cut] + bytes(len(content) - cut))
    return [path.name for path in damaged]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_workspace_after_a_power_cut_is_gone_on_with_and_nothing_wrong_is_used(undisturbed, tmp_path, seed):
    path, whole = undisturbed
    chance, ended, damaged = random.Random(seed), [], []

    def power_cut(happening):
        if isinstance(happening, SegmentEnded):
            ended.append(happening)
            if len(ended) == 6:
                damaged.extend(copied(tmp_path / "runs", tmp_path / "copy", chance))
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.run(path, workspace=tmp_path / "runs", listeners=[power_cut], **INLINE)
    log = tmp_path / "log"
    results = api.run(path, workspace=tmp_path / "copy", listeners=[listening(log)], **INLINE)
    assert essence(results) == whole
    lost = {name for name in damaged if name.startswith("trial-")} & {
        f"trial-{record.number:05d}.safetensors" for record in results.records
    }
    notes = " ".join(line["note"] for line in logged(log) if "note" in line)
    checkpoints = {p for p in damaged if (tmp_path / "runs" / "small" / "checkpoints" / p).exists()}
    assert all(name in notes for name in lost & checkpoints)
