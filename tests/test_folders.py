"""A report is never written over what kdsearch did not write."""

import pytest

from kdsearch.mistakes import Mistake
from kdsearch.report import write_report
from tests.made import material, some


@pytest.fixture
def given():
    return material(some())


def test_a_new_an_empty_and_our_own_folder_are_written_to(tmp_path, given):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "new" / "deep", tmp_path / "empty"):
        assert write_report(given, folder).is_file()
        (folder / "notes.txt").write_text("beside our page")
        write_report(given, folder)
        assert (folder / "notes.txt").read_text() == "beside our page"


def test_a_folder_of_measured_results_is_ours(tmp_path, given):
    (tmp_path / "RESULTS.md").write_text("measured")
    (tmp_path / "front.png").write_bytes(b"")
    assert write_report(given, tmp_path).is_file()
    assert (tmp_path / "RESULTS.md").read_text() == "measured"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.html", "<!doctype html><title>my home page</title>"),
        ("index.html", '<meta name="generator" content="kdsearching">'),
        ("index.html", ""),
        ("thesis.tex", "years of work"),
    ],
)
def test_a_folder_that_is_not_ours_is_left_alone(tmp_path, given, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(Mistake, match=r"is not a report's folder: .*; name another with --to DIR"):
        write_report(given, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == content


def test_what_stands_beside_measured_results_may_not_be_ours(tmp_path, given):
    (tmp_path / "RESULTS.md").write_text("measured")
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(Mistake, match=r"it holds other files, such as thesis\.tex"):
        write_report(given, tmp_path)


def test_a_linked_page_is_not_followed(tmp_path, given):
    elsewhere = write_report(given, tmp_path / "elsewhere")
    before = elsewhere.read_bytes()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "index.html").symlink_to(elsewhere)
    with pytest.raises(Mistake, match="is a link to somewhere else"):
        write_report(given, tmp_path / "here")
    assert elsewhere.read_bytes() == before
    (tmp_path / "here" / "index.html").unlink()
    (tmp_path / "here" / "index.html").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Mistake, match="is a link"):
        write_report(given, tmp_path / "here")
    assert not (tmp_path / "nowhere").exists()
