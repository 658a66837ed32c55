"""`kdsearch doctor`: damage of each kind is found, repaired where that is safe, and found no more."""

import json
import os
import shutil
import socket
import sqlite3
import tempfile
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch import cli
from kdsearch.data.kept import keep_data
from kdsearch.files import load_tensors, read_note
from kdsearch.lease import only_driver
from kdsearch.mistakes import Mistake
from kdsearch.opening import open_storage
from kdsearch.signal_files import SignalFiles
from kdsearch.store import Store
from kdsearch.upkeep.checksums import damaged
from kdsearch.upkeep.doctor import diagnose
from kdsearch.upkeep.packing import archive_study
from kdsearch.workspace import Workspace

pytestmark = pytest.mark.xdist_group("upkeep")  # the search that they share is made by one process, once


@pytest.fixture
def root(searched, tmp_path, monkeypatch):
    """A copy of the interrupted workspace, on a machine without other users."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return searched.copy(tmp_path / "runs")


def kinds(checkup):
    return sorted(flaw.kind for flaw in checkup.left if flaw.level != "note")


def flip(path, position=-1):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def only(folder, pattern):
    (path,) = folder.glob(pattern)
    return path


def torn(path):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((path.parents[1] / "checkpoints" / "trial-00002.safetensors").read_bytes()[:-1])


def aged(path, hours=2):
    os.utime(path, (time.time() - 3600 * hours,) * 2)


# in this order: of one that is whole yet a copy is made
DAMAGE = {
    "teacher damaged": lambda study: flip(only(study / "teacher", "*.safetensors")),
    "signals damaged": lambda study: flip(only(study / "signals", "logits-*.npy")),
    "starts damaged": lambda study: flip(sorted((study / "starts").glob("*.safetensors"))[-1]),
    "checkpoints orphaned": lambda study: shutil.copy(
        study / "checkpoints" / "trial-00002.safetensors", study / "checkpoints" / "trial-00000.safetensors"
    ),
    "checkpoints damaged": lambda study: flip(study / "checkpoints" / "trial-00002.safetensors"),
    "confirm damaged": lambda study: torn(study / "confirm" / "0123456789abcdef-0.safetensors"),
    "anew damaged": lambda study: torn(study / "anew" / "0123456789abcdef.safetensors"),
    "students orphaned": lambda study: shutil.copy(
        study / "students" / "trial-00000.safetensors", study / "students" / "trial-00007.safetensors"
    ),
    "locks and notes orphaned": lambda study: (study / "signals" / "features-0.lock").touch(),
    "temporary files orphaned": lambda study: [
        (study / "students" / ".trial-00003.safetensors.ab12cd_9").write_bytes(b"torn"),
        aged(study / "students" / ".trial-00003.safetensors.ab12cd_9"),
    ],
}


def test_a_search_that_was_stopped_is_clean(searched, root):
    found = diagnose(workspace=root)
    assert (found.clean, found.studies) == (True, ("small",))
    assert [flaw.kind for flaw in found.flaws] == ["mlflow never"]


def test_notes_of_a_version_without_checksums_are_no_damage(root):
    study = root / "small"
    for path in (*study.glob("teacher/*.json"), *study.glob("signals/*.json")):
        path.write_text(json.dumps(read_note(path)))
    assert diagnose("small", workspace=root).clean
    array, files = only(study / "signals", "logits-*.npy"), SignalFiles(study / "signals", 1e9)
    assert len(files.array(array.stem, pytest.fail)) and files.notes == []
    only(study / "teacher", "*.accuracy.json").write_text("{}")
    (flaw,) = (flaw for flaw in diagnose("small", workspace=root).left if flaw.level != "note")
    assert "holds no accuracy" in flaw.what and "measured again" in flaw.costs


def test_damage_of_every_kind_is_found_repaired_and_found_no_more_and_the_study_goes_on_to_the_same_table(
    searched, root
):
    study = root / "small"
    for damage in DAMAGE.values():
        damage(study)
    keep_data(searched_data(searched), study / "data")
    flip(study / "data" / "train-inputs.npy")
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*.*")}
    found = diagnose("small", track=False, workspace=root)
    assert (kinds(found), found.repaired) == (sorted([*DAMAGE, "data damaged"]), ())
    assert before == {path: path.stat().st_mtime_ns for path in study.rglob("*.*")}, "only looked at"
    assert diagnose("small", repair=True, track=False, workspace=root).clean
    again = diagnose("small", repair=True, track=False, workspace=root)
    assert (kinds(again), again.repaired) == ([], ())
    searched.assert_goes_on(root)
    assert kinds(diagnose("small", track=False, workspace=root)) == []


def searched_data(searched):
    from kdsearch.source import Source

    return Source(path=searched.path).load().data()


def test_a_damaged_or_missing_student_is_left_to_the_user(root):
    students = Workspace(root).student("small", 0), Workspace(root).student("small", 1)
    flip(students[0])
    students[1].unlink()
    found = diagnose("small", repair=True, track=False, workspace=root)
    assert kinds(found) == ["student missing", "students damaged"]
    assert all(f"--trial {number} --recreate" in " ".join(flaw.remedy for flaw in found.left) for number in (0, 1))
    assert students[0].exists(), "it is not removed"


def test_a_running_trial_without_its_state_is_told_and_is_no_damage(root):
    Workspace(root).checkpoint("small", 2).unlink()
    found = diagnose("small", workspace=root)
    assert found.clean
    assert "trial 2 is running and has no state: it begins again" in [flaw.what for flaw in found.flaws]


def test_a_study_whose_driver_is_alive_is_only_looked_at(root):
    (root / "small" / "checkpoints" / "trial-00009.safetensors").touch()
    with only_driver(root / "small"):
        found = diagnose("small", workspace=root)
        assert found.looked_at_only == ("small",)
        with pytest.raises(Mistake, match="another run of the study 'small' is at work"):
            diagnose("small", repair=True, track=False, workspace=root)
        assert diagnose(repair=True, track=False, workspace=root).repaired == ()
    assert (root / "small" / "checkpoints" / "trial-00009.safetensors").exists()


def test_rows_that_cannot_be_read_and_a_torn_database_are_named(root):
    with sqlite3.connect(root / "optuna.db") as connection:
        connection.execute("update trial_user_attributes set value_json = '\"{torn\"' where key = 'result'")
    assert kinds(diagnose("small", workspace=root)) == ["rows damaged", "rows damaged"]
    content = bytearray((root / "optuna.db").read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    (root / "optuna.db").write_bytes(content)
    assert "database damaged" in kinds(diagnose(workspace=root))


def test_rows_are_looked_at_where_the_files_are_in_another_workspace(root, tmp_path):
    url = Workspace(root).storage_url
    storage = open_storage(url, create=False)
    study = storage.get_study_id_from_name("small")
    sessions = storage.get_study_user_attrs(study)["sessions"]
    storage.set_study_user_attr(study, "sessions", [{**sessions[0], "epochs": 12345}, *sessions[1:]])
    (tmp_path / "other").mkdir()
    other = {"track": False, "workspace": tmp_path / "other", "storage": url}
    found = diagnose("small", **other)
    assert [flaw.kind for flaw in found.left] == ["account damaged", "folder missing"]
    assert not found.clean and diagnose("small", repair=True, **other).clean
    assert len(Store(storage, "small").sessions()) == len(sessions) - 1
    with pytest.raises(Mistake, match="lack the students of 2 complete trials; name the workspace"):
        archive_study("small", tmp_path / "small.zip", workspace=tmp_path / "other", storage=url)
    with sqlite3.connect(root / "optuna.db") as database:
        database.execute("update trial_user_attributes set value_json = '{\"a\": 1}' where key = 'known'")
    assert {"rows damaged"} == set(kinds(diagnose("small", **other)))
    assert list((tmp_path / "other").iterdir()) == [], "no lock either"


def test_the_ledger_of_a_study_that_is_gone_is_removed(root):
    storage = open_storage(Workspace(root).storage_url, create=False)
    Store(storage, "small").ledger.note_teacher(0.5)
    storage.create_new_study([], "small/confirm-0123456789ab")
    found = diagnose(workspace=root)
    assert kinds(found) == ["ledger orphaned"]
    assert "small/confirm-0123456789ab" in found.left[-1].what


def test_the_folders_of_killed_drivers_are_told_from_those_of_live_ones(root, tmp_path):
    place = tmp_path / "tmp"
    sockets = []
    for name in ("kdsearch-deaddead", "kdsearch-alive_01"):
        (place / name).mkdir()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listening.bind(str(place / name / "events"))
        sockets.append(listening)
    sockets[0].close()
    for mine in ("kdsearch-mine", "kdsearch-backup01"):
        (place / mine).mkdir()
        (place / mine / "notes.txt").touch()
        aged(place / mine, hours=100)
    for rows, hours in (("kdsearch-archive-deaddead", 25), ("kdsearch-archive-alive_01", 2)):
        (place / rows).mkdir()
        aged(place / rows, hours=hours)
    found = diagnose(workspace=root)
    dead = [str(place / name) for name in ("kdsearch-archive-deaddead", "kdsearch-deaddead")]
    assert [flaw.where for flaw in found.left if flaw.level != "note"] == dead
    sockets[1].close()


@settings(max_examples=15)
@given(which=st.integers(0, 10**6), where=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_no_flipped_bit_is_taken_for_what_was_written(searched, which, where, bit):
    """A flip is found, or is in padding: what is read is the same."""
    place = Workspace(searched.root)
    facts = Store(open_storage(place.storage_url, create=False), "small").facts
    files = sorted(path for path in place.study("small").rglob("*") if path.suffix in (".safetensors", ".npy"))
    path = files[which % len(files)]
    content = path.read_bytes()
    torn = bytearray(content)
    torn[where % len(torn)] ^= 1 << bit
    try:
        path.write_bytes(torn)
        if [flaw.where for flaw in damaged(place.study("small"), facts)] != [str(path)]:
            tensors, notes = load_tensors(path)
            path.write_bytes(content)
            before, notes_before = load_tensors(path)
            assert notes == notes_before
            assert all((tensors[name].numpy().tobytes() == before[name].numpy().tobytes()) for name in before)
    finally:
        path.write_bytes(content)


def test_the_command_says_what_where_and_what_repairs_it(root, capsys):
    assert cli.main(["doctor", "--workspace", str(root)]) == 0
    assert "checked 1 study: nothing is wrong" in capsys.readouterr().out
    flip(Workspace(root).student("small", 1))
    assert cli.main(["doctor", "small", "--workspace", str(root), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    (flaw,) = (flaw for flaw in found["findings"] if flaw["level"] == "error")
    assert set(flaw) == {"kind", "level", "what", "where", "costs", "remedy", "repairable"}
    assert not flaw["repairable"]
    assert cli.main(["doctor", "other", "--workspace", str(root)]) == 2
    assert cli.main(["doctor", "--workspace", str(root / "nowhere")]) == 2
