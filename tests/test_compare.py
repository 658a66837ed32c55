"""Studies side by side: one table, one reference, and what keeps them from being compared."""

import pytest

from kdsearch import reporting
from kdsearch.mistakes import Mistake
from kdsearch.report.compare import cautions, comparison_page, sentence, study_columns, write_comparison
from tests.browser import draw_all
from tests.made import EVIL, facts, material, some, trial


def two():
    return [material(some()), material([trial(0, 200, 0.9)], facts(name="other"))]


def test_the_table_has_a_row_for_each_study():
    columns = {column.title: column.cells for column in study_columns(two(), [0.88, 1.0794])}
    assert columns["study"] == ["small", "other"]
    assert columns["complete trials"] == ["4", "1"]
    assert columns["hypervolume"] == ["0.8800", "1.0794"]
    assert columns["on the front"] == ["3", "1"]
    assert (columns["its parameters"][1], columns["its accuracy, %"][1]) == ("200", "90.00")
    assert columns["points below teacher"][1] == "7.00"


def test_the_sentence_names_who_covers_most():
    assert sentence(["a", "b"], [0.5, 0.7]) == "b covers the most, a hypervolume of 0.7000; a 0.5000."
    assert sentence(["a", "b"], [0.7, 0.7]) == "a and b cover the same hypervolume, 0.7000."
    assert sentence(["a", "b"], [0, 0]) == "None of these studies has a student above the common reference yet."


def test_what_keeps_studies_from_being_compared_is_said():
    elsewhere = facts(name="other", smoke=True, data={**facts().data, "fingerprint": "g"})
    said = " ".join(cautions([material(some()), material([], elsewhere)]))
    for told in ("not trained on the same data", "other is a smoke run", "other has no complete trial yet"):
        assert told in said
    assert "teachers differ" not in said


def test_one_study_is_no_comparison():
    with pytest.raises(Mistake, match="two or more different studies, got small, small"):
        comparison_page([two()[0], two()[0]])


def test_the_page_is_drawn_in_a_browser(opened, tmp_path):
    path = write_comparison(two(), tmp_path / "small-vs-other")
    tab = opened(path)
    draw_all(tab)
    assert tab.inner_text("h1") == "small vs other"
    assert tab.locator("#studies tbody tr").count() == 2
    assert tab.locator("[data-drawn]").count() >= 1
    tab.set_viewport_size({"width": 360, "height": 740})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


def test_hostile_and_empty_studies_have_a_comparison_too(opened):
    evil = facts(name=EVIL, data={**facts().data, "name": EVIL})
    tab = opened(comparison_page([material([trial(0, 200, 0.9)], evil), material([])]))
    draw_all(tab)
    assert EVIL in tab.inner_text("h1")
    assert tab.locator("a[href*=evil]").count() == 0


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden"])
def test_a_folder_is_never_called_by_what_is_no_studys_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for names in ([name], ["fine", name]):
        with pytest.raises(Mistake, match="a study's name must be"):
            reporting.write_report(*names, workspace=tmp_path)
    assert list(tmp_path.iterdir()) == []
