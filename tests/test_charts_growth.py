"""How a search went: hypervolume over epochs, minutes and trials, on worked steps."""

import pytest

from kdsearch.records import Inherited, Session
from kdsearch.report.charts.growth import chart, growth_figure, growth_numbers
from kdsearch.report.spending import Spending
from tests.made import curve, material, some, trial


def test_growth_on_worked_steps():
    """Reference 0.5 and 10^5: trial 0 covers 0.3 x 2; trial 2 adds 0.48 x 1 - 0.3 x 1; trial 4 adds 0.1 x 1."""
    steps = growth_numbers(material(some())).steps
    assert steps["order"].tolist() == [1, 2, 3, 4]
    assert steps["trial"].tolist() == [0, 1, 2, 4]
    assert steps["hypervolume"].tolist() == pytest.approx([0.6, 0.6, 0.78, 0.88])
    assert steps["grew"].tolist() == [True, False, True, True]


def test_it_runs_in_the_order_in_which_trials_ended():
    made = material([trial(0, 1_000, 0.8, ended_ms=9_000), trial(1, 2_000, 0.7, ended_ms=3_000)])
    numbers = growth_numbers(made)
    assert numbers.steps["trial"].tolist() == [1, 0]
    figure = growth_figure(numbers)
    assert (figure.data[0].line.shape, list(figure.data[0].x)) == ("hv", [1, 2, 2])
    assert figure.layout.meta is None  # without curves there are no epochs and no minutes to offer


def studied():
    """Epochs of half a second, one after another: trial 0 at 0 to 1 s, 1 at 1 to 1.5 s, then a pause of a minute, 2."""
    return [
        trial(0, 1_000, 0.8, curve=curve([0.7, 0.8], at_ms=100_000), began_ms=100_000, ended_ms=101_000),
        trial(1, 500, None, state="pruned", curve=curve([0.6], at_ms=101_000), began_ms=101_000, ended_ms=162_500),
        trial(
            2,
            100,
            0.7,
            curve=curve([0.6, 0.6, 0.7], at_ms=161_000),
            inherited=Inherited(kind="start", trial=0, epochs=1),
            began_ms=161_500,
            ended_ms=162_500,
        ),
    ]


RUNS = [Session(began_ms=100_000, seconds=2, workers=1, busy_seconds=1, student_seconds=1, epochs=3)]


def test_epochs_are_counted_when_they_ended_and_shared_ones_once():
    spending = Spending.of(studied(), RUNS)
    assert spending.epochs([0, 100_499, 100_500, 101_500, 162_500]).tolist() == [0, 0, 1, 3, 5]


def test_minutes_leave_out_the_pause_between_runs():
    """The first run lasted 2 s; the second left no record of itself, and its two epochs took a second."""
    moments = [99_000, 101_000, 120_000, 162_000, 162_500]
    found = Spending.of(studied(), RUNS).minutes(moments)
    assert (60 * found).tolist() == pytest.approx([0, 1, 2, 2.5, 3])
    assert Spending.of([], []).minutes([5]).tolist() == [0]


def test_the_axis_switches_and_what_was_stopped_stands_below():
    made = material(studied(), sessions=RUNS)
    numbers = growth_numbers(made)
    assert numbers.steps["epochs"].tolist() == [2, 5]
    assert (60 * numbers.steps["minutes"]).tolist() == pytest.approx([1, 3])
    assert numbers.rungs == {1: 1}
    assert numbers.lost[["trial", "state", "order", "epochs"]].to_numpy().tolist() == [[1, "pruned", 1, 3]]
    figure = growth_figure(numbers)
    axes = figure.layout.meta["axes"]
    assert [axis["name"] for axis in axes] == ["epochs", "minutes", "order"]
    assert axes[0]["x"] == [[2, 5, 5], [2, 5], [3]]
    assert axes[2]["x"] == [[1, 2, 2], [1, 2], [1]]
    below = figure.data[-1]
    assert (list(below.customdata), below.yaxis, figure.layout.yaxis2.ticktext) == ([1], "y2", ("stopped",))
    assert "1 after epoch 1" in chart(made).note


def test_there_is_no_progress_before_two_trials():
    assert "One trial is complete: there is no progress to draw yet" in chart(material([trial(0, 100, 0.8)])).missing
    assert "No trial is complete" in chart(material([])).missing
