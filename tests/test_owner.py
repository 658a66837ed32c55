"""One name, two databases, one workspace: nobody takes another study's folder for its own, or for nobody's."""

import shutil

import pytest

from kdsearch import api
from kdsearch.files import write_text
from kdsearch.lease import only_driver
from kdsearch.mistakes import Mistake
from kdsearch.opening import open_storage
from kdsearch.owner import OWNER, check_owner, claim, owner_of
from kdsearch.results import Results
from kdsearch.store import Store
from kdsearch.upkeep.deleting import delete_study
from kdsearch.upkeep.doctor import diagnose
from kdsearch.upkeep.garbage import collect_garbage
from kdsearch.upkeep.packing import archive_study
from kdsearch.upkeep.restoring import restore_study
from kdsearch.workspace import Workspace
from tests.upkept import run

pytestmark = pytest.mark.xdist_group("upkeep")  # the search that they share is made by one process, once
ANOTHERS = "is of another study of that name, in another database"


@pytest.fixture
def root(searched, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return searched.copy(tmp_path / "runs")


@pytest.fixture
def other(root, tmp_path):
    """A database that has another study of that name."""
    facts = Store(open_storage(Workspace(root).storage_url, create=False), "small").facts
    url = f"sqlite:///{tmp_path / 'other.db'}"
    Store.create(open_storage(url, create=True), type(facts)(**{**vars(facts), "id": "f" * 32}))
    return url


def held(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def test_a_folder_is_the_study_s_that_is_driven_there_first(tmp_path):
    check_owner(tmp_path / "nothing", None)
    check_owner(tmp_path, "a")
    claim(tmp_path, "a")
    claim(tmp_path, "a")
    check_owner(tmp_path, "a")
    for anothers in ("b", "", None):
        with pytest.raises(Mistake, match=ANOTHERS):
            check_owner(tmp_path, anothers)


@pytest.mark.parametrize("torn", ["", "{", '{"id": "b", "sum": "altered"}', "[]"])
def test_what_says_whose_folder_it_is_may_be_torn_and_is_said_anew(searched, root, torn):
    write_text(root / "small" / OWNER, torn)
    assert owner_of(root / "small") is None
    (flaw,) = [one for one in diagnose("small", workspace=root, track=False).flaws if one.kind == "damaged owner"]
    assert "written anew" in flaw.costs
    diagnose("small", workspace=root, repair=True, track=False)
    assert owner_of(root / "small") == Store(open_storage(Workspace(root).storage_url, create=False), "small").facts.id
    assert diagnose("small", workspace=root, track=False).clean


def test_a_study_of_that_name_in_another_database_touches_nothing(searched, root, other, tmp_path):
    before, elsewhere = held(root), {"workspace": root, "storage": other}
    for refused in (
        lambda: run(searched.path, root, storage=other),
        lambda: api.confirm_study(searched.path, engine="inline", track=False, **elsewhere),
        lambda: run(searched.path, root, storage=f"sqlite:///{tmp_path / 'third.db'}"),
        lambda: collect_garbage("small", students="front", **elsewhere),
        lambda: diagnose("small", repair=True, track=False, **elsewhere),
        lambda: archive_study("small", tmp_path / "small.zip", **elsewhere),
        lambda: delete_study("small", **elsewhere),
    ):
        with pytest.raises(Mistake, match=ANOTHERS):
            refused()
    said = []
    collect_garbage(students="front", say=said.append, **elsewhere)
    assert len(said) == 1 and ANOTHERS in said[0]
    for repair in (False, True):
        found = diagnose(repair=repair, track=False, **elsewhere)
        assert [flaw.kind for flaw in found.flaws if flaw.level != "note"] == ["folder of another study"]
    assert before == held(root)
    searched.assert_goes_on(root)


def test_a_folder_of_an_older_version_is_taken_and_its_students_are_not_guessed_at(searched, root, other):
    (root / "small" / OWNER).unlink()
    lost = Workspace(root).student("small", 7)
    shutil.copy(Workspace(root).student("small", 0), lost)
    with pytest.raises(Mistake, match=r"another database \(3 files in students, 1 files in checkpoints\)"):
        run(searched.path, root, storage=f"{other}x")
    for options in ({}, {"students": "front"}):
        assert "students" not in collect_garbage("small", workspace=root, **options).files
    assert [flaw.where for flaw in diagnose("small", repair=True, track=False, workspace=root).left] == [str(lost)]
    searched.assert_goes_on(root)
    assert owner_of(root / "small") == Store(open_storage(Workspace(root).storage_url, create=False), "small").facts.id
    assert "students" not in collect_garbage("small", workspace=root).files
    assert diagnose("small", repair=True, track=False, workspace=root).clean
    assert not lost.exists()


def test_without_its_database_nothing_is_deleted_that_a_training_has_cost(root, tmp_path):
    before, somewhere = held(root), f"sqlite:///{tmp_path / 'empty.db'}"
    open_storage(somewhere, create=True)
    (root / "optuna.db").rename(root.parent / "kept.db")
    for marked in (True, False):
        if not marked:
            (root / "small" / OWNER).unlink()
        for storage in (None, somewhere):
            with pytest.raises(Mistake, match=ANOTHERS):
                delete_study("small", workspace=root, storage=storage)
            found = diagnose(track=False, workspace=root, storage=storage)
            (flaw,) = (flaw for flaw in found.flaws if flaw.kind == "folder without study")
            assert "--storage" in flaw.remedy and "delete" not in flaw.remedy
    assert before == held(root)
    for results in ("students", "checkpoints", "confirm"):
        shutil.rmtree(root / "small" / results, ignore_errors=True)
    (flaw,) = (flaw for flaw in diagnose(track=False, workspace=root).flaws if flaw.kind == "folder without study")
    assert flaw.remedy == "kdsearch delete small"
    delete_study("small", workspace=root)
    assert not (root / "small").exists()


def test_what_is_no_study_s_is_neither_called_one_nor_deleted(root):
    project = root / "project"
    (project / "data").mkdir(parents=True)
    (project / "data" / "table.csv").touch()
    for touched in (None, "driver.lock"):
        if touched is not None:
            (project / "src").mkdir()
            (project / touched).touch()
        assert "folder without study" not in [flaw.kind for flaw in diagnose(track=False, workspace=root).flaws]
        with pytest.raises(Mistake, match="there is no study 'project' here"):
            delete_study("project", workspace=root)
    (root / "small" / "notes.txt").touch()
    (root / "small" / ".DS_Store").touch()
    with pytest.raises(Mistake, match=r"holds what is no study's: notes.txt; move that away first"):
        delete_study("small", workspace=root)
    assert Store(open_storage(Workspace(root).storage_url, create=False), "small").facts.name == "small"
    (root / "small" / "notes.txt").unlink()
    delete_study("small", workspace=root)
    assert not (root / "small").exists()
    assert (project / "data" / "table.csv").exists()


def test_a_study_that_was_moved_to_another_disk_is_deleted_by_its_link(root, tmp_path):
    disk, students = tmp_path / "disk", tmp_path / "students"
    (root / "small").rename(disk)
    (disk / "students").rename(students)
    (root / "small").symlink_to(disk)
    (disk / "students").symlink_to(students)
    said = delete_study("small", workspace=root)
    assert f"left {students}, to which {root / 'small' / 'students'} was a link" in said
    assert list(disk.iterdir()) == [] and list(students.iterdir()) != []
    assert not (root / "small").is_symlink()


def test_a_restored_study_has_its_folder(searched, root, other, tmp_path):
    archive = archive_study("small", tmp_path / "small.zip", workspace=root)
    restored = tmp_path / "restored"
    restore_study(archive, track=False, workspace=restored)
    assert owner_of(restored / "small") == owner_of(root / "small") is not None
    with pytest.raises(Mistake, match=ANOTHERS):
        run(searched.path, restored, storage=other)
    with only_driver(restored / "small"):
        assert diagnose("small", track=False, workspace=restored).clean
    assert isinstance(api.open_study("small", workspace=restored), Results)
