"""Charts of what was chosen: temperature and alpha, layers, depth and width, starts, importances, all at once."""

import math

import pytest

from kdsearch.evidence import Interval
from kdsearch.findings import ArmFinding, Finding
from kdsearch.importance import Importance
from kdsearch.records import TrialRecord
from kdsearch.report.charts import importances, layers, parallel, shape, starts, temperature
from tests.made import material, trial


def chosen(number: int, parameters: int, accuracy: float, **choices: object) -> TrialRecord:
    """A complete trial that sampled these choices, which its recipe has too."""
    return trial(number, parameters, accuracy, params=choices, described=choices)


def test_temperature_and_alpha_stand_beside_accuracy_beyond_size():
    """One size; logits ln 1 and ln 3 by halves, so that each is half of ln 3 from the mean."""
    records = [
        chosen(number, 100, (0.5, 0.75)[number % 2], temperature=1.0 + number, alpha=number / 10)
        for number in range(10)
    ]
    records.append(trial(10, 100, 0.5, described={"temperature": math.nan}))
    numbers = temperature.temperature_numbers(material(records))
    assert numbers.points.index.tolist() == list(range(10))
    assert numbers.points["temperature"].tolist() == [1.0 + number for number in range(10)]
    assert numbers.points.loc[1, "beyond"] - numbers.points.loc[0, "beyond"] == pytest.approx(math.log(3))
    figure = temperature.temperature_figure(numbers)
    others, ringed = figure.data
    assert sorted([*others.customdata, *ringed.customdata]) == list(range(10))
    assert set(ringed.customdata) == {1, 3, 5, 7, 9}
    assert ringed.marker.line.width > others.marker.line.width
    assert figure.layout.xaxis.type == "log"


def test_temperature_says_how_many_trials_there_are_and_are_needed():
    records = [chosen(number, 100, 0.5, temperature=1.0 + number, alpha=0.5) for number in range(9)]
    assert (
        "Needs 10 complete trials with a temperature and an alpha, and has 9"
        in temperature.chart(material(records)).missing
    )
    records.append(chosen(9, 100, 0.5, temperature=2.0, alpha=0.5))
    assert "alpha 0.5" in temperature.chart(material(records)).missing


def hinted(number: int, teacher: object, student: object, accuracy: float, **changes: object) -> TrialRecord:
    described = {"start": "hints", "teacher_layer": f"blocks.{teacher}", "student_layer": f"blocks.{student}"}
    return trial(number, 100, accuracy, described=described, **changes)


def test_layers_have_a_mean_and_a_count_for_each_pair_in_their_order():
    records = [hinted(number, 2, 10, (0.5, 0.75)[number % 2]) for number in range(4)]
    records += [hinted(number, 10, 2, 0.75) for number in range(4, 10)]
    records.append(trial(10, 100, 0.5))
    numbers = layers.layers_numbers(material(records))
    assert numbers.trials == 10
    assert numbers.teacher_layers == numbers.student_layers == ["blocks.2", "blocks.10"]
    cells = numbers.cells.set_index(["teacher_layer", "student_layer"])
    assert cells["trials"].to_dict() == {("blocks.2", "blocks.10"): 4, ("blocks.10", "blocks.2"): 6}
    gap = cells.loc[("blocks.10", "blocks.2"), "beyond"] - cells.loc[("blocks.2", "blocks.10"), "beyond"]
    assert gap == pytest.approx(math.log(3) / 2)
    (grid,) = layers.layers_figure(numbers).data
    assert grid.z[0][0] is None and grid.text[0][1].endswith("4 trials")


def test_layers_are_as_the_space_asked_for_them_where_it_did():
    records = [
        hinted(number, number, number, 0.5, params={"teacher_layer": 0.75, "student_layer": 0.25 * (1 + number % 2)})
        for number in range(10)
    ]
    numbers = layers.layers_numbers(material(records))
    assert (numbers.teacher_layers, numbers.student_layers) == (["0.75"], ["0.25", "0.5"])
    records[0] = hinted(0, 1, 1, 0.5)  # one that was given by name: then all are
    assert "blocks.3" in layers.layers_numbers(material(records)).teacher_layers


def test_layers_say_what_is_lacking():
    assert "started with hints, and has 1" in layers.chart(material([hinted(0, 1, 1, 0.5)])).missing
    same = [hinted(number, 1, 1, 0.5) for number in range(10)]
    assert "same two layers" in layers.chart(material(same)).missing


def shaped(number: int, width: int, depth: int, accuracy: float = 0.5, family: str = "ConvNet") -> TrialRecord:
    """Parameters are 10 width^2 depth: their log is linear in those of width and depth."""
    return chosen(number, 10 * width**2 * depth, accuracy, width=width, depth=depth, family=family)


def test_lines_of_equal_size_join_shapes_of_that_size():
    shapes = [(width, depth) for width in (2, 4, 8, 16) for depth in (2, 4, 6)]
    numbers = shape.shape_numbers(material([shaped(number, *one) for number, one in enumerate(shapes)]))
    assert {1_000.0, 10_000.0} <= numbers.levels.keys()
    line = numbers.levels[1_000]
    assert (10 * line["width"] ** 2 * line["depth"]).tolist() == pytest.approx([1_000] * len(line), rel=0.01)


def test_there_are_no_lines_where_few_shapes_are_known_or_something_else_decides_the_size():
    shapes = [(width, depth) for width in (2, 4, 8) for depth in (2, 4)]
    few = [shaped(number, *shapes[number % 6]) for number in range(12)]
    assert not shape.shape_numbers(material(few)).levels
    assert "No lines of equal size" in shape.chart(material(few)).note
    shapes = [(width, depth) for width in (2, 4, 8, 16) for depth in (2, 4, 6)]
    odd = [chosen(n, 10 ** (2 + n % 4), 0.5, width=w, depth=d, family="Net") for n, (w, d) in enumerate(shapes)]
    assert not shape.shape_numbers(material(odd)).levels


def test_trials_of_one_shape_stand_above_one_another_by_accuracy():
    records = [shaped(0, 4, 2, 0.7), shaped(1, 4, 2, 0.5), shaped(2, 4, 2, 0.9), shaped(3, 8, 2, 0.5)]
    places = shape.shape_numbers(material(records)).points["place"]
    assert places[1] < places[0] < places[2]
    assert places[0] == places[3] == 2


def test_one_family_at_a_time_the_most_frequent():
    records = [shaped(number, 2 + number, 2 + number % 2) for number in range(10)]
    records += [shaped(10, 4, 4, family="ResNet"), trial(11, 100, 0.5, described={"family": "MLP"})]
    numbers = shape.shape_numbers(material(records))
    assert (numbers.family, numbers.families, numbers.among) == ("ConvNet", 2, 10)
    assert "Only ConvNet, the most frequent of 2 families" in shape.chart(material(records)).note


def arm(label: str, difference: tuple[float, float, float] | None = None) -> ArmFinding:
    interval = (
        None if difference is None else Interval(mean=difference[0], low=difference[1], high=difference[2], seeds=5)
    )
    return ArmFinding(
        label=label, test=None, validation=None, difference=interval, said=None, seconds=1, epochs=2, failed=0
    )


def test_starts_in_matched_pairs_come_before_all_trials():
    found = [
        Finding(
            name="start",
            trial=3,
            members=1,
            arms=[arm("start none"), arm("start hints (epochs 5)", (0.01, -0.01, 0.03))],
        ),
        Finding(
            name="start",
            trial=None,
            members=2,
            arms=[arm("start none"), arm("start hints (epochs 5)", (0.02, 0.01, 0.03))],
        ),
    ]
    numbers = starts.starts_numbers(material([trial(0, 100, 0.5)], findings=found))
    assert numbers.matched and numbers.reference == "none"
    assert numbers.rows["mean"].tolist() == [0.02, 0.01]  # what holds for all comes first
    assert numbers.rows["whole"].tolist() == [True, False]
    assert numbers.rows["told"].tolist() == ["2 students", "trial 3"]
    figure = starts.starts_figure(numbers)
    assert list(figure.data[0].x) == [2.0]
    assert list(figure.data[0].error_x.array) == pytest.approx([1.0])
    assert figure.layout.yaxis.ticktext == ("<b>hints</b><br>2 students", "trial 3")
    assert "Matched pairs" in starts.chart(material([trial(0, 100, 0.5)], findings=found)).note


def test_a_confirmation_beside_other_starts_is_turned_round():
    """Its differences are of the trial's own start minus the other."""
    arms = [arm("distilled"), arm("alone", (0.5, 0.4, 0.6)), arm("start pretrain", (0.01, -0.02, 0.04))]
    numbers = starts.starts_numbers(material([], findings=[Finding(name="confirm", trial=1, members=1, arms=arms)]))
    assert numbers.rows[["label", "mean", "low", "high"]].to_numpy().tolist() == [["pretrain", -0.01, -0.04, 0.02]]


def test_starts_are_else_compared_over_all_trials_at_one_size():
    """All have one size, so accuracies stay as they are: the mean of 0.5 and 0.6 by turns over six trials is 0.55, and
    Student's interval is 2.571 x 0.05477 / sqrt(6) to each side.
    """
    records = [chosen(n, 100, 0.5 + n % 2 / 10, start="none") for n in range(6)]
    records += [chosen(n, 100, 0.7 + n % 2 / 10, start="hints") for n in range(6, 12)]
    records.append(chosen(12, 100, 0.7, start="pretrain"))
    numbers = starts.starts_numbers(material(records))
    rows = numbers.rows.set_index("label")
    assert not numbers.matched and numbers.size == 100
    # a parabola through one size is its mean: what the one trial of pretrain does to it is the same for all
    assert rows.loc["none", "mean"] == pytest.approx(0.55, abs=1e-6)
    assert rows.loc["none", "high"] - 0.55 == pytest.approx(2.5706 * 0.0547723 / math.sqrt(6), abs=1e-5)
    assert rows.loc["hints", "count"] == 6
    assert numbers.left_out == ("pretrain",)
    note = starts.chart(material(records)).note
    assert "No matched pairs" in note and "fewer than 5 trials: pretrain" in note


def test_one_start_is_no_comparison():
    records = [chosen(number, 100, 0.5, start="none") for number in range(20)]
    assert "Fewer than two starts have 5" in starts.chart(material(records)).missing


def test_importances_fall_and_what_foretells_nothing_is_grey():
    found = [
        Importance(parameter="alpha", share=0.1, trials=12, explained=0.05),
        Importance(parameter="lr", share=0.3, trials=20, explained=0.4),
    ]
    numbers = importances.importances_numbers(found)
    assert (numbers.parameters, numbers.shares, numbers.seen) == (["lr", "alpha"], [0.3, 0.1], [True, False])
    (bars,) = importances.importances_figure(numbers).data
    assert list(bars.x) == [30, 10]
    assert bars.marker.color[0] != bars.marker.color[1]
    assert "and has 1:" in importances.chart(material([trial(0, 100, 0.5)])).missing


def test_coordinates_are_scaled_by_what_they_are():
    """Numbers linearly, by logs beyond a factor of eight unless fractions; choices evenly; none before the axis."""
    choices = [
        {"alpha": 0.02, "lr": 0.001, "start": "a", "depth": 2},
        {"alpha": 0.51, "lr": 0.01, "start": "b", "depth": 3},
        {"alpha": 1.0, "lr": 0.1, "start": "c", "depth": 6},
    ]
    records = [chosen(number, 10 ** (2 + number), 0.5 + number / 10, **one) for number, one in enumerate(choices)]
    records.append(chosen(3, 10_000, 0.7, start="b", lr=0.1, depth=2))
    numbers = parallel.parallel_numbers(material(records))
    places = numbers.places
    assert places["alpha"].tolist() == pytest.approx([0, 0.5, 1, -0.12])
    assert places["lr"].tolist() == pytest.approx([0, 0.5, 1, 1])
    assert places["start"].tolist() == [0, 0.5, 1, 0.5]
    assert places["depth"].tolist() == [0, 0.25, 1, 0]
    assert places["parameters"].tolist() == pytest.approx([0, 0.5, 1, 1])
    assert places["accuracy"].iloc[0] == 0 and places["accuracy"].iloc[-1] == 1
    ticks = {axis.name: axis.ticks for axis in numbers.axes}
    assert ticks["lr"] == [(0.0, "0.001"), (0.5, "0.01"), (1.0, "0.1")]
    assert ticks["alpha"][-1] == (-0.12, "–")


def test_classes_are_fifths_and_every_line_is_drawn():
    records = [chosen(number, 100 + number, 0.5 + number / 100, depth=number % 3) for number in range(20)]
    numbers = parallel.parallel_numbers(material(records))
    assert numbers.classes.value_counts().to_dict() == dict.fromkeys(range(5), 4)
    assert numbers.bounds[0] == 0.5 and numbers.bounds[-1] == pytest.approx(0.69)
    figure = parallel.parallel_figure(numbers)
    drawn = {number for trace in figure.data for number in trace.customdata if number is not None}
    assert drawn == set(range(20))
    assert [trace.line.width for trace in figure.data[:5]] == [1.2] * 5
    assert figure.layout.yaxis.ticktext == ("depth", "parameters", "accuracy")


def test_only_the_most_important_choices_have_an_axis():
    names = [f"p{place}" for place in range(9)]
    records = [chosen(n, 100, 0.5, **{name: n + place for place, name in enumerate(names)}) for n in range(10)]
    important = [Importance(parameter=name, share=0.1, trials=9, explained=0.2) for name in reversed(names)]
    made = material(records, importances=important)
    assert [axis.name for axis in parallel.parallel_numbers(made).axes] == [*names[3:], "parameters", "accuracy"]
    assert "The 6 most important of 9 parameters" in parallel.chart(made).note
