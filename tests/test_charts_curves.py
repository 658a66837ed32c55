"""Learning curves: what is drawn of each trial, and what only once."""

import pytest

from kdsearch.records import Inherited
from kdsearch.report.charts.curves import chart, curves_figure, curves_numbers
from tests.made import curve, material, trial


def points(numbers, number, stage):
    mine = numbers.points[(numbers.points["trial"] == number) & (numbers.points["stage"] == stage)]
    return list(zip(mine["epoch"], mine["accuracy"], strict=True))


def test_stages_are_told_apart_and_the_solid_line_goes_on_where_the_dotted_one_ends():
    made = material([trial(0, 100, 0.7, curve=curve([0.3, 0.4, 0.6, 0.7], start=2, kind="pretrain"))])
    numbers = curves_numbers(made)
    assert points(numbers, 0, "start") == [(1, 0.3), (2, 0.4)]
    assert points(numbers, 0, "distil") == [(2, 0.4), (3, 0.6), (4, 0.7)]


def test_hints_show_no_accuracy_and_their_epochs_count():
    made = material([trial(0, 100, 0.7, curve=curve([None, None, 0.6, 0.7], start=2))])
    assert points(curves_numbers(made), 0, "distil") == [(3, 0.6), (4, 0.7)]


def test_what_trials_share_is_drawn_once_and_their_lines_part_at_one_point():
    shared = Inherited(kind="start", trial=0, epochs=2)
    lines = [[0.3, 0.4, 0.6], [0.3, 0.4, 0.7], [0.3, 0.4, 0.8]]
    records = [
        trial(number, 100, line[-1], curve=curve(line, start=2, kind="pretrain"), inherited=shared if number else None)
        for number, line in enumerate(lines)
    ]
    numbers = curves_numbers(material(records))
    begun = {number: points(numbers, number, "start") for number in range(3)}
    whole = next(number for number in range(3) if len(begun[number]) == 2)
    assert all(begun[number] == [] for number in range(3) if number != whole)
    assert points(numbers, 1, "distil") == [(2, 0.4), (3, 0.7)]


def test_a_continued_trial_goes_on_where_the_stopped_one_stood():
    records = [
        trial(0, 100, None, state="pruned", curve=curve([0.3, 0.5])),
        trial(1, 100, 0.8, curve=curve([0.3, 0.5, 0.8]), inherited=Inherited(kind="trial", trial=0, epochs=2)),
    ]
    numbers = curves_numbers(material(records))
    assert points(numbers, 1, "distil") == [(1, 0.3), (2, 0.5), (3, 0.8)]  # the front comes first, and is drawn whole
    assert numbers.rungs == {2: 1}
    figure = curves_figure(numbers)
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(2, 2)]
    assert figure.layout.annotations[0].text == "1 stopped"


def test_the_front_and_at_most_150_others_evenly_over_their_accuracies():
    records = [
        trial(number, 1_000, 0.3 + number / 1_000, curve=curve([0.2, 0.3 + number / 1_000])) for number in range(301)
    ]
    made = material(records)
    numbers = curves_numbers(made)
    assert (numbers.drawn, numbers.among) == (151, 301)
    assert numbers.points.groupby("trial")["on_front"].first().sum() == 1
    assert "151 of 301 trials are drawn" in chart(made).note


def test_all_grey_lines_are_one_trace():
    records = [trial(number, 1_000, 0.5 + number / 10, curve=curve([0.4, 0.5 + number / 10])) for number in range(3)]
    figure = curves_figure(curves_numbers(material(records)))
    grey, coloured = figure.data
    assert list(grey.customdata) == [0, 0, None, 1, 1]
    assert list(coloured.customdata) == [2, 2]
    assert coloured.line.width > grey.line.width


def test_long_curves_are_thinned_to_what_a_screen_shows():
    made = material([trial(0, 100, 0.5, curve=curve([0.5] * 1_000))])
    epochs = curves_numbers(made).points["epoch"]
    assert len(epochs) == 200
    assert (epochs.iloc[0], epochs.iloc[-1]) == (1, 1_000)


@pytest.mark.parametrize("shown", [[], [0.5], [None, None]])
def test_a_curve_needs_two_epochs(shown):
    assert "a curve needs two" in chart(material([trial(0, 100, 0.5, curve=curve(shown, start=len(shown)))])).missing
