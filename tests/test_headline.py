"""The report's first sentence, on worked figures."""

import math
from dataclasses import replace

import pytest

from kdsearch.report.headline import headline
from tests.made import facts, lost, material, some, trial


def confirmed(verdict: str, *, test: float = 0.966, alone: float = 0.951, teacher: float | None = 0.97):
    """Trial 0 of 2,100 parameters, 0.5 points below the teacher's 97 % on validation, confirmed on three seeds."""
    given = material([trial(0, 2_100, 0.965), trial(1, 9_000, 0.969)], facts(), teacher_test=teacher)
    row = {"test_accuracy": test, "test_low": 0.96, "test_high": 0.972, "test_seeds": 3}
    row |= {"alone_test_accuracy": alone, "alone_low": 0.945, "alone_high": 0.957}
    row |= {"gain": test - alone, "gain_low": 0.01, "gain_high": 0.02, "verdict": verdict}
    table = given.table.copy()
    for name, value in row.items():
        table[name] = [value, math.nan if name != "verdict" else None]
    return headline(replace(given, table=table))


def test_the_verdict_is_on_the_test_split_where_fresh_seeds_are():
    told = confirmed("better")
    assert told.sentence == (
        "A student with 2.1 % of the teacher's parameters is 0.4 points below the teacher; "
        "alone it would be 1.9 below, so distilled is better."
    )
    assert "3 fresh seeds, on the test split: 96.60 % (96.00 to 97.20), alone 95.10 %" in told.basis
    assert "the teacher 97.00 %" in told.basis
    assert [figure.value for figure in told.figures[:3]] == ["2.1 %", "−0.40", "+1.50"]


@pytest.mark.parametrize(
    ("verdict", "words"),
    [("unclear", "though whether distilled is better is unclear"), ("no better", "so distilled is no better")],
)
def test_what_is_unclear_is_said(verdict, words):
    assert confirmed(verdict).sentence.endswith(f"{words}.")


def test_level_and_above_are_called_so():
    assert (
        "is level with the teacher; alone it would be 0.1 above"
        in confirmed("better", test=0.9704, alone=0.971).sentence
    )


def test_without_the_teachers_test_accuracy_it_stays_with_validation():
    told = confirmed("better", teacher=None)
    assert (
        told.sentence
        == "A student with 2.1 % of the teacher's parameters is 0.5 points below the teacher on validation."
    )


def test_on_validation_it_says_so():
    told = headline(material(some()))
    assert (
        told.sentence
        == "A student with 10 % of the teacher's parameters is 1.0 points above the teacher on validation."
    )
    assert "nothing is confirmed" in told.basis


def test_a_teacher_that_is_not_measured_is_not_compared_to():
    unmeasured = facts(teacher={"key": "k", "parameters": 100_000, "members": 1, "accuracy": math.nan})
    told = headline(material([trial(0, 50, 0.8)], unmeasured))
    assert told.sentence == "A student with 0.05 % of the teacher's parameters has 80.0 % validation accuracy."


def test_without_a_complete_trial_there_is_none():
    assert headline(material([])) is None
    assert headline(material([lost(0, "failed", "x")])) is None


def test_an_alone_student_that_equals_the_teacher_reads_well():
    told = confirmed("unclear", alone=0.97).sentence
    assert "is 0.4 points below the teacher; alone it would be level with it, though" in told


def test_two_accuracies_that_differ_do_not_read_alike():
    told = confirmed("better", test=0.9651, alone=0.9648).sentence
    assert "is 0.49 points below the teacher; alone it would be 0.52 below, so distilled is better" in told
