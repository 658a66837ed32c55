"""The report's tables, and what charts share."""

import math

import pytest

from kdsearch.frame import frame
from kdsearch.report import tables
from kdsearch.report.columns import percent, shown, student_columns
from kdsearch.report.ink import accuracy_ticks, size_ticks
from tests.made import facts, lost, some, trial


def test_equal_trials_all_stand_in_the_front_table():
    table = frame([trial(0, 100, 0.8), trial(1, 100, 0.8)], facts())
    assert tables.front_columns(table, facts())[0].cells == ["0", "1"]


@pytest.mark.parametrize(
    ("smallest", "largest", "texts"),
    [
        (150, 230_000, ["100", "1k", "10k", "100k", "1M"]),
        (1_200, 9_000, ["1k", "2k", "5k", "10k", "20k", "50k"]),
        (0, 1, ["1", "2", "5"]),
    ],
)
def test_size_ticks(smallest: int, largest: int, texts: list[str]):
    assert size_ticks(smallest, largest)[1] == texts


@pytest.mark.parametrize(
    ("lowest", "highest", "ticks"),
    [
        (0.57, 0.992, [0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995]),
        (0.1, 0.8, [0, 0.3, 0.5, 0.7, 0.8, 0.9]),
        (0.7, 0.74, [0.7, 0.71, 0.72, 0.73, 0.74]),
        (1.0, 1.0, [1.0]),
        (0.0, 0.0, [0.0]),
    ],
)
def test_accuracy_ticks(lowest: float, highest: float, ticks: list[float]):
    assert accuracy_ticks(lowest, highest) == pytest.approx(ticks)


def test_values_are_shown_for_people():
    values = [1.0, 4.229374, 14_800, True, 0.00001, "x", math.inf, "y" * 100]
    assert [shown(value) for value in values] == ["1", "4.229", "14,800", "True", "1e-05", "x", "inf", "y" * 79 + "…"]
    assert [percent(share) for share in (0.00675, 0.00066, 1.2)] == ["0.68", "0.066", "120.00"]


def test_student_columns_are_those_that_are_no_part_of_start_distil_or_optim():
    assert student_columns(frame(some(), facts())) == ["family", "width"]


def test_front_table_names_the_losses_where_they_differ():
    table = frame([trial(0, 10, 0.6, described={"loss": "kd"}), trial(1, 20, 0.7, described={"loss": "dkd"})], facts())
    columns = {column.title: column.cells for column in tables.front_columns(table, facts())}
    assert columns["loss"] == ["kd", "dkd"]
    plain = frame([trial(0, 10, 0.6, described={"loss": "kd"})], facts())
    assert "loss" not in {column.title for column in tables.front_columns(plain, facts())}
    assert student_columns(table) == ["family", "width"]


def test_front_table_says_how_small_and_how_far_below_the_teacher():
    columns = {column.title: column.cells for column in tables.front_columns(frame(some(), facts()), facts())}
    assert columns["trial"] == ["4", "0", "2"]
    assert columns["parameters"] == ["100", "1,000", "10,000"]
    assert columns["% of teacher's"] == ["0.10", "1.00", "10.00"]
    assert columns["validation accuracy, %"] == ["60.00", "80.00", "98.00"]
    assert columns["points below teacher"] == ["37.00", "17.00", "-1.00"]
    assert columns["start"] == ["pretrain", "none", "hints"]
    assert columns["family"] == ["MLP", "ConvNet", "ConvNet"]
    assert "smallest" in columns["picked as"][0]
    assert "accurate" in columns["picked as"][2]


def test_further_objectives_stand_in_the_front_table():
    asked = facts(objectives=["accuracy", "parameters", "macs"])
    columns = {column.title: column.cells for column in tables.front_columns(frame(some(), asked), asked)}
    assert columns["macs"] == ["1,000", "10,000", "100,000"]
    assert "macs (minimized)" in tables.rule_words(asked)


def test_reasons_stand_once_each_with_their_count():
    listed, left_out = tables.reasons(frame(some(), facts()))
    assert [(reason.count, reason.state) for reason in listed] == [(2, "failed"), (1, "screened")]
    assert left_out == 0
    assert tables.reasons(frame([lost(0, "failed", None)], facts()))[0][0].reason == "no reason was kept"
    many = frame([lost(number, "failed", f"why {number}") for number in range(60)], facts())
    assert tables.reasons(many)[1] == 10
