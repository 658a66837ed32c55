"""Accuracy against size: numbers worked by hand, and what stands where in the figure."""

import html
import math
from dataclasses import replace

import pytest

from kdsearch.report.charts.pareto import chart, pareto_figure
from kdsearch.report.charts.pareto_numbers import pareto_numbers
from kdsearch.report.ink import height
from tests.made import EVIL, curve, facts, hostile, lost, material, some, trial


def traces(figure):
    """By name, or by mode where they have none."""
    return {trace.name or trace.mode: trace for trace in figure.data}


def test_the_complete_trials_are_kept_and_the_non_dominated_joined():
    numbers = pareto_numbers(material(some()))
    assert numbers.points.index.tolist() == [0, 1, 2, 4]
    assert numbers.points["on_front"].tolist() == [True, False, True, True]
    assert numbers.points["start"].tolist() == ["none", "none", "hints", "pretrain"]
    assert numbers.fronts["parameters"]["size"].tolist() == [100, 1_000, 10_000]
    assert numbers.fronts["parameters"]["accuracy"].tolist() == [0.6, 0.8, 0.98]
    assert (numbers.teacher_parameters, numbers.teacher_accuracy) == (100_000, 0.97)


def test_each_size_has_a_front_of_its_own():
    """The larger of two networks may need fewer macs: then both are on that front, or it alone."""
    records = [
        trial(0, 100, 0.8, known={"parameters": 100, "macs": 900}),
        trial(1, 200, 0.9, known={"parameters": 200, "macs": 500}),
    ]
    fronts = pareto_numbers(material(records)).fronts
    assert list(fronts) == ["parameters", "macs"]  # no size in kB, no latency is known
    assert fronts["parameters"].to_numpy().tolist() == [[100, 0.8], [200, 0.9]]
    assert fronts["macs"].to_numpy().tolist() == [[500, 0.9]]


def test_equal_trials_are_all_on_the_front_and_once_in_its_line():
    numbers = pareto_numbers(material([trial(0, 100, 0.8), trial(1, 100, 0.8)]))
    assert numbers.points["on_front"].tolist() == [True, True]
    assert len(numbers.fronts["parameters"]) == 1


def test_stopped_trials_stand_at_what_they_last_showed_and_the_others_are_lost():
    records = [
        trial(0, 100, 0.8),
        trial(1, 200, None, state="pruned", curve=curve([None, 0.5, 0.7], start=1)),
        trial(2, 300, None, state="pruned", curve=curve([None], start=1)),
        trial(3, 400, None),
        lost(4, "failed", "why"),
        trial(5, 0, None, state="failed", known={}),
    ]
    numbers = pareto_numbers(material(records))
    assert numbers.stopped["accuracy"].to_dict() == {1: 0.7}
    assert numbers.stopped["parameters"].tolist() == [200]
    assert numbers.lost["state"].to_dict() == {3: "running", 4: "failed"}  # of 5 no size is known
    figure = pareto_figure(numbers)
    shown = traces(figure)
    assert list(shown["stopped or waiting"].customdata) == [1]
    assert list(shown["failed"].customdata) == [4]
    assert shown["failed"].y[0] < min(shown["start: none"].y)
    assert figure.layout.yaxis.ticktext[-2:] == ("failed", "running")


def test_height_counts_halved_errors_alike_and_half_an_example_for_none():
    assert height(1.0, 100) == pytest.approx(-math.log10(0.005))
    assert height(0.805, 100) == pytest.approx(-math.log10(0.2))
    assert height(0.905, 100) - height(0.805, 100) == pytest.approx(math.log10(2))


def test_the_figure_steps_along_the_front_and_marks_start_by_symbol_and_colour():
    figure = pareto_figure(pareto_numbers(material(some())))
    line = figure.data[0]
    assert (line.line.shape, list(line.x)) == ("hv", [100, 1_000, 10_000])
    marks = [
        trace.marker
        for trace in figure.data
        if trace.mode == "markers" and (trace.name or "")[:5] in ("start", "teach")
    ]
    assert [mark.symbol for mark in marks] == ["circle-open", "diamond", "circle", "square", "star"]
    assert len({mark.color for mark in marks}) == 4
    assert list(figure.data[-1].x) == [100_000]
    assert [entry.name for entry in figure.data if entry.showlegend is not False] == [
        *("best at its size", "start: hints", "start: none", "start: pretrain", "teacher, validation")
    ]


def test_marks_carry_their_trials_and_leave_the_tip_to_the_page():
    figure = pareto_figure(pareto_numbers(material(some())))
    told = {number for trace in figure.data if trace.customdata is not None for number in trace.customdata}
    assert told == set(range(8))
    for trace in figure.data:
        assert trace.hoverinfo == "none" if trace.customdata is not None else trace.hoverinfo in ("text", "skip")
        assert trace.customdata is None or len(trace.customdata) == len(trace.x) == len(trace.y)


def test_the_other_axes_move_marks_and_change_the_front_line():
    """Every axis says for every trace where it stands; the parameters' front and the teacher have no place on macs."""
    figure = pareto_figure(pareto_numbers(material(some())))
    axes = {axis["name"]: axis for axis in figure.layout.meta["axes"]}
    assert list(axes) == ["parameters", "macs", "size_kb"]
    for axis in axes.values():
        assert [len(x) for x in axis["x"]] == [len(trace.x) for trace in figure.data]
    assert [list(trace.x) for trace in figure.data] == axes["parameters"]["x"]
    assert axes["macs"]["x"][0] == [None, None, None]
    assert axes["macs"]["x"][1] == [1_000, 10_000, 100_000]
    assert axes["macs"]["x"][-1] == [None]
    assert axes["size_kb"]["ticktext"][:3] == ["0.1", "0.2", "0.5"]


def test_one_point_below_the_teacher_and_its_small_share_are_lines():
    figure = pareto_figure(pareto_numbers(material(some())))
    assert [shape.y0 for shape in figure.layout.shapes] == pytest.approx(
        [-math.log10(0.035), -math.log10(0.045)], abs=1e-6
    )
    assert list(traces(figure)["92 % fewer parameters"].x) == [8_000, 8_000]


def test_confirmed_students_have_their_intervals_beside_themselves_alone():
    made = material([trial(0, 1_000, 0.8)])
    means = {"test_accuracy": 0.8, "test_low": 0.7, "test_high": 0.9}
    alone = {"alone_test_accuracy": 0.7, "alone_low": 0.6, "alone_high": 0.8}
    table = made.table.assign(**means, **alone)
    shown = traces(pareto_figure(pareto_numbers(replace(made, table=table, teacher_test=0.96))))
    assert shown["distilled, test"].x[0] < 1_000 < shown["alone, test"].x[0]
    assert shown["distilled, test"].error_y.array[0] == pytest.approx(math.log10(0.205 / 0.105), abs=1e-4)
    assert "80.00 % (70.00 to 90.00)" in shown["distilled, test"].hovertext[0]
    assert "96.00 % test" in shown["teacher, test"].hovertext[0]


def test_without_a_complete_trial_there_is_no_figure():
    made = chart(material([trial(0, 100, None)]))
    assert made.figure is None
    assert "needs one" in made.missing


def test_a_teacher_that_is_not_measured_yet_is_left_out():
    told = facts(teacher={"key": "k", "parameters": 100_000, "members": 1, "accuracy": math.nan})
    figure = chart(material(some(), told)).figure
    assert "teacher" not in traces(figure)
    assert not figure.layout.shapes


def test_names_from_a_database_are_escaped():
    records, told = hostile()
    names = [trace.name for trace in chart(material(records, told)).figure.data]
    assert any(html.escape("<script>") in str(name) for name in names)
    assert EVIL not in str(names)
