"""Studies side by side: fronts, and hypervolumes from a reference that they share."""

import html
import math

import pytest

from kdsearch.report.charts.comparison import comparison_charts, comparison_numbers, fronts_figure, volumes_figure
from tests.made import EVIL, curve, facts, material, trial


def two():
    """`small` has the reference 0.5 and 10^5, `other` 0.1 and 10^4."""
    small = material([trial(0, 1_000, 0.8, curve=curve([0.7, 0.8])), trial(1, 2_000, 0.7, curve=curve([0.7]))])
    told = facts(name="other", reference={"accuracy": 0.1, "parameters": 10_000})
    other = material([trial(0, 100, 0.6, curve=curve([0.6])), trial(1, 10_000, 0.9, curve=curve([0.9]))], told)
    return [small, other]


def test_fronts_stand_with_their_study():
    numbers = comparison_numbers(two())
    columns = ["study", "trial", "parameters", "accuracy"]
    assert numbers.fronts[columns].to_numpy().tolist() == [
        ["small", 0, 1_000, 0.8],
        ["other", 0, 100, 0.6],
        ["other", 1, 10_000, 0.9],
    ]
    assert numbers.teachers["accuracy"].tolist() == [0.97, 0.97]


def test_hypervolumes_are_from_the_lowest_accuracy_and_the_largest_size():
    """From 0.1 and 10^5: small covers 0.7 x 2; other 0.5 x 3 and 0.3 x 1 more."""
    numbers = comparison_numbers(two())
    assert (numbers.reference_accuracy, numbers.reference_parameters) == (0.1, 100_000)
    assert numbers.volumes == pytest.approx({"small": 1.4, "other": 1.8})
    grown = numbers.growth[numbers.growth["study"] == "other"]
    assert grown["hypervolume"].tolist() == pytest.approx([1.5, 1.8])
    assert "accuracy above 0.1 times log10 of parameters below 100,000" in comparison_charts(two())[1].note


def test_growth_is_over_epochs_spent_and_ends_where_the_study_did():
    """Epochs end at 0.5 and 1 s in every trial; trial 0 ended at 0 s, trial 1 at 1 s."""
    numbers = comparison_numbers(two())
    small = numbers.growth[numbers.growth["study"] == "small"]
    assert small["epochs"].tolist() == [0, 3]
    assert small["hypervolume"].tolist() == pytest.approx([1.4, 1.4])


def test_studies_on_other_data_are_cautioned_about():
    first, other = two()
    told = facts(data={**facts().data, "fingerprint": "g"})
    assert comparison_numbers([first, other]).caution == ""
    found = comparison_numbers([first, material([trial(0, 100, 0.5)], told)])
    assert "different data" in found.caution
    teacher = facts(teacher={"key": "other", "parameters": 5, "members": 1, "accuracy": 0.9})
    assert "different teachers" in comparison_numbers([first, material([], teacher)]).caution


def test_studies_of_one_name_are_told_apart():
    first, _ = two()
    assert comparison_numbers([first, first]).names == ["small (1)", "small (2)"]


def test_figures_have_a_line_for_each_study():
    numbers = comparison_numbers(two())
    figure = fronts_figure(numbers)
    assert [(trace.name, list(trace.x)) for trace in figure.data[::2]] == [("small", [1_000]), ("other", [100, 10_000])]
    assert [trace.marker.symbol for trace in figure.data[1::2]] == ["star", "star"]
    grown = volumes_figure(numbers)
    assert [trace.name for trace in grown.data] == ["small", "other"]
    assert grown.data[0].line.dash != grown.data[1].line.dash
    assert all(trace.customdata is None for trace in [*figure.data, *grown.data])


def test_without_complete_trials_or_a_second_study():
    told = facts(name=EVIL, teacher={"key": "k", "parameters": 10, "members": 1, "accuracy": math.nan})
    for chart in comparison_charts([material([]), material([], told)]):
        assert chart.figure is None and "No study has a complete trial" in chart.missing
    with pytest.raises(ValueError, match="at least two studies"):
        comparison_numbers([material([])])
    shown = comparison_charts([material([trial(0, 10, 0.5)], told), material([])])
    assert all(chart.figure.data[0].name.startswith(html.escape("<script>")) for chart in shown)
