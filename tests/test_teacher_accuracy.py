import math

import pytest

from kdsearch import api, reporting, taking
from kdsearch.choice import Limits
from kdsearch.events import TeacherMeasured
from kdsearch.opening import open_storage
from kdsearch.prepare import draft
from kdsearch.source import Source
from kdsearch.store import Store
from kdsearch.workspace import Workspace
from tests.studies_for_tests import write_study


@pytest.fixture
def planned(tmp_path):
    return draft(Source(path=write_study(tmp_path)), Workspace(tmp_path / "runs"))


def test_an_unmeasured_teacher_is_measured_when_asked_and_never_again(planned):
    prepared = planned.ready(measure=False)
    assert math.isnan(prepared.facts.teacher["accuracy"])
    accuracy = prepared.teacher_accuracy()
    held = prepared.data.validation
    right = prepared.teacher.predictions(prepared.data, held.inputs, held.labels) == held.labels
    assert accuracy == pytest.approx(right.float().mean().item())
    assert planned.ready(measure=False).facts.teacher["accuracy"] == accuracy


def test_measuring_stops_when_asked_and_keeps_nothing_of_it(planned):
    prepared = planned.ready(measure=False)
    assert math.isnan(prepared.teacher_accuracy(lambda: True))
    assert not prepared.measurement.exists()


def test_local_workers_begin_before_the_teacher_is_measured(tmp_path):
    heard = []
    results = api.run(
        write_study(tmp_path),
        workspace=tmp_path / "runs",
        workers=2,
        track=False,
        confirm=False,
        listeners=[heard.append],
    )
    said = [happening.accuracy for happening in heard if isinstance(happening, TeacherMeasured)]
    accuracy = results.facts.teacher["accuracy"]
    assert said == [accuracy]
    assert api.open_study("small", workspace=tmp_path / "runs").facts.teacher["accuracy"] == accuracy
    status = api.status("small", workspace=tmp_path / "runs")
    assert status["teacher"]["accuracy"] == accuracy


def test_an_accuracy_that_an_interrupted_run_did_not_note_is_noted_by_the_next(tmp_path, planned):
    path = tmp_path / "small.py"
    api.run(path, workspace=tmp_path / "runs", trials=1, workers=1, track=False, confirm=False)
    store = Store(open_storage(planned.workspace.storage_url, create=False), "small")
    store.note_teacher_accuracy(math.nan)
    assert api.status("small", workspace=tmp_path / "runs")["teacher"]["accuracy"] is None
    with pytest.raises(api.Mistake, match="not measured yet"):
        taking.export_student("small", tmp_path / "out", limits=Limits(max_drop=5.0), workspace=tmp_path / "runs")
    page = reporting.write_report("small", to=tmp_path / "page", workspace=tmp_path / "runs").read_text()
    assert "nan %" not in page
    assert "nan points" not in page
    assert "not measured yet" in page
    results = api.run(path, workspace=tmp_path / "runs", trials=2, workers=1, track=False, confirm=False)
    assert 0 <= results.facts.teacher["accuracy"] <= 1
