"""What all charts have in common: the contract with the page, whatever the study."""

import json
import math
from typing import Any

import pytest

from kdsearch.importance import Importance
from kdsearch.records import Session
from kdsearch.report.charts import CHARTS, charts
from kdsearch.report.complete import beyond_size, complete_trials, thinned
from kdsearch.report.ink import errors_scale, lines, rounded
from kdsearch.thinning import evenly
from tests.made import EVIL, curve, facts, hostile, lost, material, trial


def rich(count: int = 40) -> Any:
    """A study in which every chart has something to show; every fourth trial was stopped after three epochs."""
    records = []
    for number in range(count):
        start = ("none", "hints", "pretrain")[number % 3]
        width, depth = 2 + number % 5, 2 + number // 5 % 4
        params: dict[str, Any] = {"width": width, "depth": depth, "start": start}
        params |= {"temperature": 1.5 ** (number % 7), "alpha": number % 11 / 10}
        layers = {"teacher_layer": 0.25 * (1 + number % 2), "student_layer": 0.5} if start == "hints" else {}
        stopped = number % 4 == 3
        accuracy = 1 - 1 / (10 + width * depth + number % 6)
        shown = curve([0.5, 0.6, 0.7, *([] if stopped else [accuracy])], start=start != "none", at_ms=10_000 * number)
        records.append(
            trial(
                number,
                10 * width**2 * depth,
                None if stopped else accuracy,
                state="pruned" if stopped else "complete",
                params=params | layers,
                described=params | {name: f"block{value}" for name, value in layers.items()} | {"epochs": 4},
                curve=shown,
                spent={"distil": 2.0},
                began_ms=10_000 * number,
                ended_ms=10_000 * number + 5_000,
            )
        )
    records += [lost(count, "failed", "why"), lost(count + 1, "screened", "why"), trial(count + 2, 100, None)]
    importances = [Importance(parameter="alpha", share=0.4, trials=count, explained=0.3)]
    runs = [Session(began_ms=0, seconds=400, workers=1, busy_seconds=100, student_seconds=80, epochs=100)]
    return material(records, importances=importances, sessions=runs)


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    return {chart.name: chart for chart in charts(rich())}


def test_every_chart_is_there_by_its_name_and_in_order(drawn):
    assert list(drawn) == list(CHARTS)
    assert list(drawn)[:3] == ["pareto", "growth", "curves"]
    for chart in drawn.values():
        assert chart.title and chart.label and chart.note
        assert chart.figure is not None and not chart.missing


@pytest.mark.parametrize("name", CHARTS)
def test_a_figure_keeps_to_the_contract(drawn, name):
    """Marks of trials carry their numbers and leave the tip to the page; nothing needs WebGL, which needs eval."""
    figure = drawn[name].figure
    for trace in figure.data:
        assert trace.type in ("scatter", "bar", "heatmap")
        if trace.customdata is None:
            assert trace.hoverinfo in ("text", "skip")
        else:
            assert trace.hoverinfo == "none"
            assert len(trace.customdata) == len(trace.x) == len(trace.y)
            assert all(number is None or number in range(43) for number in trace.customdata)
            assert [x is None for x in trace.x] == [n is None for n in trace.customdata] or trace.mode != "lines"
    for axis in (figure.layout.meta or {}).get("axes", []):
        assert len(axis["x"]) == len(figure.data)
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    json.loads(figure.to_json())


def test_picking_finds_the_same_trial_in_all_charts(drawn):
    for name in ("pareto", "curves", "temperature", "shape", "starts", "parallel"):
        numbers = {number for trace in drawn[name].figure.data for number in trace.customdata or ()}
        assert 0 in numbers, name


@pytest.mark.parametrize("records", [[], [trial(0, 100, None)], [trial(0, 100, 0.8)], [lost(0, "failed", "why")]])
def test_too_little_behind_a_chart_is_said(records):
    for chart in charts(material(records)):
        assert (chart.figure is None) == bool(chart.missing)
        if chart.name != "pareto":
            assert chart.figure is None


def test_equal_trials_and_unknown_teachers_are_drawn():
    """The same accuracy, size and recipe in all of them; a teacher that is not measured yet."""
    told = facts(teacher={"key": "k", "parameters": 1_000, "members": 1, "accuracy": math.nan})
    params = {"width": 4, "depth": 2, "start": "none", "temperature": 4.0, "alpha": 0.9}
    same = [trial(number, 1_000, 1.0, params=params, described=params) for number in range(12)]
    missing = {chart.name: chart.missing for chart in charts(material(same, told))}
    assert not missing["pareto"] and not missing["growth"]
    assert "4" in missing["temperature"] and "nothing to compare" in missing["temperature"]
    assert "nothing to compare" in missing["shape"] and "nothing to compare" in missing["parallel"]


def test_nothing_from_a_database_becomes_markup():
    records, told = hostile()
    params = {"start": EVIL, EVIL: EVIL, "temperature": EVIL}
    more = [
        trial(
            number,
            100 * number,
            0.7 + number / 100,
            params=params | {"x": f"{EVIL}{number % 2}"},
            curve=curve([0.5, 0.6]),
        )
        for number in range(4, 20)
    ]
    importances = [Importance(parameter=EVIL, share=0.5, trials=9, explained=0.5)]
    for chart in charts(material([*records, *more], told, importances=importances)):
        if chart.figure is not None:
            text = json.dumps(chart.figure.to_plotly_json(), default=str)
            assert "<script" not in text and "<a " not in text, chart.name


def test_beyond_size_is_what_a_curve_over_size_leaves():
    """Two sizes, two accuracies each: the mean logit of a size is expected, half the gap is beyond it."""
    made = material(
        [trial(n, size, a) for n, (size, a) in enumerate([(100, 0.5), (100, 0.75), (1_000, 0.9), (1_000, 0.9)])]
    )
    beyond = beyond_size(complete_trials(made.table))
    assert beyond.tolist() == pytest.approx([-math.log(3) / 2, math.log(3) / 2, 0, 0], abs=1e-9)


def test_evenly_keeps_both_ends_and_thinned_the_front():
    assert evenly(3, 5).tolist() == [0, 2, 4]
    assert evenly(9, 4).tolist() == [0, 1, 2, 3]
    records = [trial(number, 1_000 + number, 0.5 + number / 1_000) for number in range(20)]
    points = complete_trials(material([*records, trial(20, 10, 0.9)]).table)
    kept = thinned(points, 2)
    assert kept.index.tolist() == [0, 19, 20]
    assert kept["on_front"].tolist() == [False, False, True]


def test_lines_have_a_gap_between_trials():
    assert lines([7, 7, 3], [1, 2, 1], [0.5, 0.6, 0.7]) == {
        "customdata": [7, 7, None, 3],
        "x": [1, 2, None, 1],
        "y": [0.5, 0.6, None, 0.7],
    }


def test_numbers_keep_the_digits_that_a_screen_shows():
    assert rounded([123456.0, 0.123456, math.nan, 0]) == [123460, 0.12346, None, 0]
    assert rounded([1234567], 9) == [1234567]


def test_the_scale_of_errors_says_halves_and_doubles():
    scale = errors_scale([-math.log(2), math.log(2)])
    assert scale["colorbar"]["ticktext"] == ["×2.0", "×1.0", "×0.5"]
    assert scale["cmax"] == pytest.approx(math.log(2)) and scale["cmin"] == -scale["cmax"]
