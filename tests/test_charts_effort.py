"""Where the time went: the account as bars."""

import pytest

from kdsearch.records import Inherited, Session
from kdsearch.report.charts.effort import chart, duration, effort_figure, effort_numbers
from tests.made import curve, material, trial


def spent():
    """Ten seconds of trials; two workers for 10 s, busy for 15 of 20; two epochs not trained, one inherited."""
    records = [
        trial(0, 100, 0.8, curve=curve([0.5, 0.8]), spent={"distil": 6.0, "start": 2.0}),
        trial(1, 200, None, state="pruned", curve=curve([0.5]), described={"epochs": 3}, spent={"distil": 2.0}),
        trial(
            2,
            300,
            0.9,
            curve=curve([0.5, 0.9], start=1),
            spent={},
            inherited=Inherited(kind="start", trial=0, epochs=1),
        ),
    ]
    runs = [Session(began_ms=0, seconds=10, workers=2, busy_seconds=15, student_seconds=12, epochs=4)]
    return material(records, sessions=runs)


def test_parts_are_those_of_the_account():
    numbers = effort_numbers(spent())
    assert numbers.trials == {"start": 2.0, "distil": 8.0}
    assert numbers.workers == pytest.approx({"students": 12, "other work": 3, "idle": 5})
    assert numbers.epochs == {"trained": 4, "stopped early": 2, "shared starts": 1}
    assert numbers.teacher_passes == 4


def test_each_bar_begins_where_the_one_before_ended():
    figure = effort_figure(effort_numbers(spent()))
    bars = [(bar.base[0], bar.x[0], bar.y[0]) for bar in figure.data if bar.type == "bar"]
    assert bars[:5] == [(0, 20, 1), (20, 80, 2), (0, 60, 4), (60, 15, 5), (75, 25, 6)]
    assert figure.layout.yaxis.ticktext[:4] == ("<b>trials' time</b>", "start", "distil", "<b>workers' time</b>")
    texts = [trace.text[0].strip() for trace in figure.data if trace.type == "scatter"]
    assert texts == ["2 s", "8 s", "12 s", "3 s", "5 s", "4", "2", "1"]


def test_the_note_says_what_was_saved():
    note = chart(spent()).note
    assert "10 s together" in note and "idle for 25 %" in note
    assert "3 epochs were saved" in note and "4 passes of the teacher" in note


def test_before_a_run_ended_there_are_no_workers():
    made = material([trial(0, 100, 0.8, curve=curve([0.5]), spent={"distil": 1.0})])
    assert effort_numbers(made).workers == {}
    assert chart(made).figure is not None
    assert "No trial has its seconds" in chart(material([])).missing


def test_durations_are_for_people():
    assert [duration(seconds) for seconds in (1.234, 119, 150, 9000)] == ["1.23 s", "119 s", "2.5 min", "2.5 h"]
