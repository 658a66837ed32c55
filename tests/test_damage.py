"""Torn and flipped bytes in the files of a workspace, and disks that take no more: found, named, mended or refused."""

import contextlib
import itertools
import shutil
import subprocess
import threading
import time

import pytest

from kdsearch import api
from kdsearch.data.kept import keep_data, load_data
from kdsearch.database import Database
from kdsearch.driving import holder_of, leased
from kdsearch.events import Note
from kdsearch.files import DamagedError
from kdsearch.mistakes import DiskError, Mistake
from kdsearch.watching import Rhythm
from tests.damaged import DAMAGES, flip
from tests.studies_for_tests import write_study
from tests.test_search import _search_stopping, essence

CHANGES = (
    (
        "trials=4, segment_epochs=2",
        "trials=3, segment_epochs=1, "
        'first=[{"start": "pretrain", "width": 8, "alpha": part} for part in (0.2, 0.5, 0.8)]',
    ),
)
KINDS = {
    "a state": "checkpoints/*.safetensors",
    "a start": "starts/*.safetensors",
    "signals": "signals/*.npy",
    "the signals' note": "signals/*.json",
    "the teacher": "teacher/*.safetensors",
    "the teacher's accuracy": "teacher/*.accuracy.json",
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A study file, what it gives undisturbed, and a workspace in which its search was stopped within a trial."""
    folder = tmp_path_factory.mktemp("damage")
    path = write_study(folder, *CHANGES)
    undisturbed = api.run(path, workspace=folder / "whole", engine="inline", track=False, confirm=False)
    asked = itertools.count()
    _search_stopping(path, folder / "runs", lambda: next(asked) > 16)
    record, under_way = api.open_study("small", workspace=folder / "runs").records
    assert (record.state, under_way.state) == ("complete", "running")
    return path, essence(undisturbed), folder / "runs"


def go_on(path, workspace):
    """The next run's table, and what it told."""
    notes = []
    heard = [lambda h: notes.append(h.text) if isinstance(h, Note) and h.warning else None]
    results = api.run(path, workspace=workspace, engine="inline", track=False, confirm=False, listeners=heard)
    return essence(results), "\n".join(notes)


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        *((kind, "flip") for kind in KINDS),
        *(("a state", "zero"), ("a start", "empty"), ("signals", "truncate"), ("the signals' note", "zero")),
        *(("the teacher", "truncate"), ("the teacher's accuracy", "empty")),
    ],
)
def test_a_damaged_file_is_named_and_what_it_held_made_again(stopped, tmp_path, kind, damage):
    path, whole, left = stopped
    shutil.copytree(left, tmp_path / "runs")
    (file, *_) = sorted((tmp_path / "runs" / "small").glob(KINDS[kind]))
    DAMAGES[damage](file, seed=len(kind) + len(damage))
    table, notes = go_on(path, tmp_path / "runs")
    assert table == whole
    assert file.stem in notes


def test_an_undamaged_workspace_has_nothing_to_tell(stopped, tmp_path):
    path, whole, left = stopped
    shutil.copytree(left, tmp_path / "runs")
    assert go_on(path, tmp_path / "runs") == (whole, "")


@pytest.mark.parametrize("part", ["data.json", "train-inputs.npy", "validation-labels.npy"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_data_kept_for_workers_are_written_again(tiny_data, tmp_path, part, damage):
    assert keep_data(tiny_data, tmp_path) is None
    DAMAGES[damage](tmp_path / part, seed=3)
    with pytest.raises(DamagedError):
        load_data(tmp_path, tiny_data.fingerprint)
    assert str(tmp_path) in keep_data(tiny_data, tmp_path)
    assert load_data(tmp_path, tiny_data.fingerprint).class_names == tiny_data.class_names


def test_a_result_altered_in_the_database_is_never_shown(stopped, tmp_path):
    import sqlite3

    path, _, left = stopped
    shutil.copytree(left, tmp_path / "runs")
    with sqlite3.connect(tmp_path / "runs" / "optuna.db") as connection:
        (text,) = connection.execute("select value_json from trial_user_attributes where key='result'").fetchone()
        digit = text.index("loss") + 12
        altered = text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :]
        connection.execute("update trial_user_attributes set value_json=? where value_json=?", (altered, text))
    for use in (lambda: go_on(path, tmp_path / "runs"), lambda: api.open_study("small", workspace=tmp_path / "runs")):
        with pytest.raises(Mistake, match=r"trial 0 of the study 'small'.*its results are not what was written"):
            use()


@pytest.mark.parametrize("damage", ["truncate", "zero"])
def test_a_damaged_database_is_refused_and_named(stopped, tmp_path, damage):
    path, _, left = stopped
    shutil.copytree(left, tmp_path / "runs")
    DAMAGES[damage](tmp_path / "runs" / "optuna.db", seed=1)
    with pytest.raises(Mistake, match=r"optuna\.db"):
        go_on(path, tmp_path / "runs")


def test_a_bit_of_the_database_that_is_wrong_is_refused_or_changes_nothing(stopped, tmp_path):
    _, whole, left = stopped
    shutil.copytree(left, tmp_path / "runs")
    database = tmp_path / "runs" / "optuna.db"
    sound = database.read_bytes()
    for seed in range(10):
        database.write_bytes(sound)
        flip(database, seed)
        try:
            found = essence(api.open_study("small", workspace=tmp_path / "runs"))
        except Mistake:
            continue
        assert found[0] == whole[0], seed


def test_mlflows_database_is_a_mirror_whose_loss_costs_a_line(stopped, tmp_path):
    path, whole, left = stopped
    shutil.copytree(left, tmp_path / "runs")
    (tmp_path / "runs" / "mlflow.db").write_bytes(b"no database at all" * 100)
    said = []
    results = api.run(path, workspace=tmp_path / "runs", engine="inline", confirm=False, complain=said.append)
    assert essence(results) == whole
    assert "MLflow" in " ".join(said)


class _Full:
    """Has writing fail as on a full disk from some time on, for files whose name has a certain part."""

    def __init__(self, monkeypatch, part):
        import kdsearch.files

        whole = kdsearch.files.write_atomically
        self.full = False

        def write(path, fill):
            if self.full and part in str(path):
                raise OSError(28, "No space left on device", str(path))
            whole(path, fill)

        for module in ("files", "signal_files"):
            monkeypatch.setattr(f"kdsearch.{module}.write_atomically", write)


@pytest.mark.parametrize("part", ["checkpoints", "students", "signals"])
def test_a_disk_that_is_full_in_the_middle_ends_the_run_and_the_next_goes_on(stopped, tmp_path, monkeypatch, part):
    path, whole, _ = stopped
    disk = _Full(monkeypatch, part)
    disk.full = True
    with pytest.raises(DiskError, match="No space left on device"):
        go_on(path, tmp_path / "runs")
    disk.full = False
    left = api.open_study("small", workspace=tmp_path / "runs") if part != "signals" else None
    assert left is None or not [record for record in left.records if record.state == "failed"]
    table, _ = go_on(path, tmp_path / "runs")
    assert table == whole


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of which nearly nothing is left."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting a small file system needs to be allowed: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_really_full_or_read_only(stopped, small_disk):
    path, whole, _ = stopped
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(DiskError, match="Read-only"):
        go_on(path, small_disk)
    for size in ("64k", "150k"):  # full when the database is made, and when something is to be kept
        subprocess.run(["mount", "-o", f"remount,rw,size={size}", str(small_disk)], check=True)
        with pytest.raises(Mistake, match=r"full|No space left"):
            go_on(path, small_disk)
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    table, _ = go_on(path, small_disk)
    assert table == whole


def test_a_lease_lives_through_a_disk_that_is_full(small_disk, monkeypatch):
    ended = []
    monkeypatch.setattr(threading, "excepthook", ended.append)
    rhythm = Rhythm(beat_seconds=0.02, look_seconds=0.02, dead_after_seconds=60)
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    url = f"sqlite:///{small_disk / 'optuna.db'}"

    def beats():
        return holder_of(Database(url), "small").beat

    filler = small_disk / "filler"

    def fill():
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(512))

    with leased(Database(url), "small", tell=print, stopping=lambda: False, rhythm=rhythm) as lease:
        fill()
        time.sleep(0.2)
        before = beats()
        filler.unlink()
        until = time.monotonic() + 30
        while beats() == before:
            assert time.monotonic() < until
        assert not lease.lost
        fill()
    assert not ended
