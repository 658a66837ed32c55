"""`kdsearch archive` and `restore`: a study moved whole, and archives from anybody refused with nothing left behind."""

import gzip
import io
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import tarfile
import zipfile
from contextlib import closing

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch import api, cli
from kdsearch.files import load_tensors
from kdsearch.lease import only_driver
from kdsearch.mistakes import Mistake
from kdsearch.opening import open_storage
from kdsearch.plain import digest
from kdsearch.store import Store
from kdsearch.upkeep import restoring, unpacking
from kdsearch.upkeep.deleting import delete_study
from kdsearch.upkeep.doctor import diagnose
from kdsearch.upkeep.garbage import collect_garbage
from kdsearch.upkeep.packing import archive_study
from kdsearch.upkeep.restoring import restore_study
from kdsearch.workspace import Workspace

pytestmark = pytest.mark.xdist_group("upkeep")  # the search that they share is made by one process, once


@pytest.fixture(scope="module")
def packed(searched, tmp_path_factory):
    """The study with something in its ledger, archived in both forms."""
    Store(open_storage(Workspace(searched.root).storage_url, create=False), "small").ledger.note_teacher(0.5)
    folder = tmp_path_factory.mktemp("archives")
    return {
        suffix: archive_study("small", folder / f"small{suffix}", workspace=searched.root)
        for suffix in (".tar.gz", ".zip")
    }


def restored(file, root, **options):
    return restore_study(file, workspace=root, track=False, **options)


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_a_study_moves_whole_and_goes_on_to_the_same_table(searched, packed, tmp_path, suffix):
    found = restored(packed[suffix], tmp_path / "new")
    pd.testing.assert_frame_equal(found.frame, api.open_study("small", workspace=searched.root).frame)
    assert found.confirmed.teacher_test_accuracy == 0.5
    assert not list((tmp_path / "new" / "small").glob("signals/*")), "they can be had again"
    assert diagnose("small", workspace=tmp_path / "new", track=False).clean
    old, new = (Workspace(root).student("small", 0) for root in (searched.root, tmp_path / "new"))
    assert old.read_bytes() == new.read_bytes()
    if suffix == ".zip":
        searched.assert_goes_on(tmp_path / "new")


def test_with_signals_they_are_in_it(searched, tmp_path):
    archive_study("small", tmp_path / "small.zip", signals=True, workspace=searched.root)
    restored(tmp_path / "small.zip", tmp_path / "new")
    assert len(list((tmp_path / "new" / "small").glob("signals/*.npy"))) == 1


def test_what_is_in_the_way_is_said_and_stays(searched, packed, tmp_path):
    file = packed[".zip"]
    with pytest.raises(Mistake, match="there is a study 'small' already"):
        restored(file, searched.root)
    (tmp_path / "new" / "small").mkdir(parents=True)
    with pytest.raises(Mistake, match="is there already, of a study in another database"):
        restored(file, tmp_path / "new")
    with pytest.raises(Mistake, match="exists already; name another file"):
        archive_study("small", file, workspace=searched.root)
    with pytest.raises(Mistake, match=r"must end in \.tar\.gz or \.zip"):
        archive_study("small", tmp_path / "small.rar", workspace=searched.root)
    with only_driver(searched.root / "small"), pytest.raises(Mistake, match="another run of the study"):
        archive_study("small", tmp_path / "other.zip", workspace=searched.root)
    assert not (tmp_path / "other.zip").exists()


def test_a_ledger_in_the_way_leaves_nothing_of_the_study(packed, tmp_path):
    storage = open_storage(Workspace(tmp_path).storage_url, create=True)
    with zipfile.ZipFile(packed[".zip"]) as archive:
        heads = [json.loads(line) for line in archive.read("study.jsonl").splitlines()]
    (ledger,) = (one["study"]["name"] for one in heads if "/" in one.get("study", {}).get("name", ""))
    storage.create_new_study([], ledger)
    with pytest.raises(Mistake, match=f"the database has a study '{ledger}' already"):
        restored(packed[".zip"], tmp_path)
    assert [study.study_name for study in storage.get_all_studies()] == [ledger]
    assert not (tmp_path / "small").exists()


# archives from anybody


def members_of(file):
    with zipfile.ZipFile(file) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def written(path, members):
    """A tar of (name or TarInfo, content) pairs."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    return path


def listing(members, **changes):
    """A manifest whose own checksum fits, of what is there."""
    import hashlib

    named = {
        name: [hashlib.sha256(content).hexdigest(), len(content)]
        for name, content in members.items()
        if name != "manifest.json"
    }
    content = {**json.loads(members["manifest.json"]), "members": named, **changes}
    content.pop("sha256")
    return json.dumps({**content, "sha256": digest(content)}).encode()


def link(name, kind, target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def hostile(packed):
    """Archives by what is wrong with them: (what the message says, members)."""
    good = members_of(packed)
    first, student = ("manifest.json", good["manifest.json"]), "files/students/trial-00000.safetensors"
    rest = [(name, content) for name, content in good.items() if name != "manifest.json"]
    without = [(name, content) for name, content in rest if name != student]
    outside = ("../../evil", "/tmp/evil", "files/students/../../../evil", "files/data/evil.npy", "optuna.db")
    for name in (*outside, "files/logs/evil.py", "files/students/evil", "files/anew/evil.json"):
        evil = {**good, name: b"evil"}
        yield "names a file that no study has", [("manifest.json", listing(evil)), *rest, (name, b"evil")]
        yield "no archive|though its table", [first, (name, b"evil"), *rest]
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        yield "no archive|is no file of the size", [first, *without, (link(student, kind), b"")]
    yield "twice", [first, *rest, (student, good[student])]
    yield "lacks 1 of its files", [first, *without]
    yield "is no file of the size", [first, *without, (student, good[student] + b"more")]
    yield "checksum of .* does not fit", [first, *without, (student, good[student][:-1] + b"x")]
    yield "does not begin with manifest.json", rest
    yield "was altered", [("manifest.json", good["manifest.json"].replace(b'"small"', b'"other"')), *rest]
    yield "its format is 2", [("manifest.json", listing(good, format=2)), *rest]
    yield "a study's name must be", [("manifest.json", listing(good, study="../up")), *rest]
    yield "of 'small', not of 'other'|there is no study", [("manifest.json", listing(good, study="other")), *rest]
    for torn in (
        b"",
        b"[1, 2]\n",
        b'{"trial": {}}\n',
        b"\xff\xfe\n",
        good["study.jsonl"].replace(b'"COMPLETE"', b'"X"'),
    ):
        altered = {**good, "study.jsonl": torn}
        yield (
            r"^the archive .*\.tar\.gz is not restored: its rows are no study's",
            [("manifest.json", listing(altered)), *list(altered.items())[1:]],
        )
    bomb = {**good, "files/logs/bomb.txt": bytes(3 * 10**7)}
    yield "above the limit", [("manifest.json", listing(bomb)), *list(bomb.items())[1:]]


def assert_refused(file, root, said):
    before = sorted(root.iterdir()) if root.exists() else []
    with pytest.raises(Mistake, match=said):
        restored(file, root, most_gb=0.01)
    left = [path for path in root.iterdir() if path not in before and path.name != "optuna.db"]
    assert left == []
    if (root / "optuna.db").exists():
        with closing(sqlite3.connect(root / "optuna.db")) as connection:
            assert connection.execute("select count(*) from studies").fetchone() == (0,)


def test_hostile_archives_are_refused_and_leave_nothing(packed, tmp_path):
    cases = list(hostile(packed[".zip"]))
    assert len(cases) > 25
    for number, (said, members) in enumerate(cases):
        assert_refused(written(tmp_path / f"{number}.tar.gz", members), tmp_path / "new", said)
    assert {path.name for path in tmp_path.iterdir()} == {"new", *(f"{n}.tar.gz" for n in range(len(cases)))}


def test_a_restored_study_runs_no_code_that_its_archive_names(packed, tmp_path):
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')")
    good = members_of(packed[".zip"])
    head, *rows = good["study.jsonl"].decode().splitlines()
    content = json.loads(head)
    content["study"]["user_attrs"]["kdsearch"]["file"] = str(evil)
    good["study.jsonl"] = "\n".join((json.dumps(content), *rows)).encode()
    members = [("manifest.json", listing(good)), *list(good.items())[1:]]
    said = []
    found = restored(written(tmp_path / "evil.tar.gz", members), tmp_path / "new", say=said.append)
    assert found.facts.file is None
    assert str(evil) in said[0] and "--study FILE" in said[0], "it is shown"
    assert cli.main(["confirm", "small", "--workspace", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "pwned").exists()


def test_headers_that_want_memory_and_what_is_no_archive_are_refused(packed, tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**30
    endless = tmp_path / "header.tar.gz"
    with gzip.open(endless, "wb") as file:
        file.write(info.tobuf())
        file.write(bytes(2**20))
    assert_refused(endless, tmp_path / "new", "header is larger than any")
    for content in (b"", b"text", b"\x1f\x8b", b"PK\x03\x04", packed[".tar.gz"].read_bytes()[:2000]):
        (tmp_path / "torn").write_bytes(content)
        assert_refused(tmp_path / "torn", tmp_path / "new", "torn")
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as archive:
        for name, content in members_of(packed[".zip"]).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if name.startswith("files/students") else 0o100644) << 16
            archive.writestr(info, content)
    assert_refused(tmp_path / "links.zip", tmp_path / "new", "is no file of the size")


@settings(max_examples=12)
@given(where=st.integers(0, 10**9), bit=st.integers(0, 7), zipped=st.booleans())
def test_an_archive_with_a_flipped_bit_is_refused_or_restores_the_same(packed, tmp_path_factory, where, bit, zipped):
    folder = tmp_path_factory.mktemp("flipped")
    content = bytearray(packed[".zip" if zipped else ".tar.gz"].read_bytes())
    content[where % len(content)] ^= 1 << bit
    (folder / "flipped").write_bytes(content)
    try:
        found = restored(folder / "flipped", folder / "new")
    except Mistake:
        assert {path.name for path in (folder / "new").iterdir()} <= {"optuna.db"}
    else:
        load_tensors(Workspace(folder / "new").student("small", 0))
        assert len(found.records) == 3
    shutil.rmtree(folder)


@pytest.mark.parametrize("moment", ["Archive.unpack", "Transcript.begin", "Transcript.commit"])
def test_a_restore_that_was_killed_leaves_nothing_that_looks_whole(packed, tmp_path, moment):
    root, (kind, act) = tmp_path / "new", moment.split(".")
    if (child := os.fork()) == 0:  # a process that has all imported already
        try:
            owner = getattr(restoring if kind == "Transcript" else unpacking, kind)
            act_on, last = getattr(owner, act), act == "commit"

            def killed(*args):
                if not last:
                    act_on(*args)
                os.kill(os.getpid(), signal.SIGKILL)

            setattr(owner, act, killed)
            restored(packed[".zip"], root)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    if act == "unpack":
        assert api.studies(workspace=root) == []
    else:
        with pytest.raises(Mistake, match="was being restored, which was interrupted; `kdsearch delete small`"):
            api.status("small", workspace=root)
        assert "study condemned" in [flaw.kind for flaw in diagnose(track=False, workspace=root).left]
        delete_study("small", workspace=root)
    diagnose(repair=True, track=False, idle_seconds=0, workspace=root)
    assert {path.name for path in root.iterdir()} <= {"optuna.db", "mlflow.db"}
    assert len(restored(packed[".zip"], root).records) == 3


def test_a_disk_that_is_full_leaves_nothing(packed, tmp_path):
    root = tmp_path / "new"
    root.mkdir()
    open_storage(Workspace(root).storage_url, create=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(Mistake, match="cannot write"):
            restored(packed[".zip"], root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name for path in root.iterdir()} == {"optuna.db"}


@pytest.fixture
def read_only(searched, tmp_path):
    """The workspace on a file system that went read-only."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting a small file system needs to be allowed: {mounted.stderr.decode().strip()}")
    searched.copy(place / "runs")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    yield place / "runs"
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_study_is_saved_from_a_disk_that_cannot_be_written(read_only, tmp_path):
    said = []
    archive_study("small", tmp_path / "small.zip", workspace=read_only, say=said.append)
    assert len(said) == 1 and "no lock can be had" in said[0] and "Read-only" in said[0]
    assert len(restored(tmp_path / "small.zip", tmp_path / "new").records) == 3
    assert "starts" in collect_garbage("small", dry_run=True, workspace=read_only).files
    assert diagnose("small", track=False, workspace=read_only).looked_at_only == ()
    with pytest.raises(Mistake, match="Read-only"):
        collect_garbage("small", workspace=read_only)


def test_the_commands(searched, tmp_path, capsys):
    file = str(tmp_path / "small.tar.gz")
    assert cli.main(["archive", "small", "--to", file, "--workspace", str(searched.root)]) == 0
    assert f"wrote {file}" in capsys.readouterr().out
    assert cli.main(["restore", file, "--workspace", str(searched.root)]) == 2
    assert "there is a study 'small' already" in capsys.readouterr().err
