"""What runs on fresh seeds are said to have found, on ledgers written by hand."""

import pandas as pd
import pytest

from kdsearch import evidence
from kdsearch.confirm import ALONE, DISTILLED
from kdsearch.findings import findings, findings_frame, with_confirmation
from kdsearch.ledger import Arm, Confirmed, Ledger, Question, RepeatRecord
from kdsearch.opening import open_storage
from kdsearch.records import StudyFacts

FACTS = StudyFacts(
    id="0",
    name="hand",
    card="",
    file=None,
    smoke=False,
    objectives=["accuracy", "parameters"],
    seed=0,
    data={"name": "d", "fingerprint": "f", "classes": 10, "shape": [1], "train": 9, "validation": 500, "test": 1000},
    teacher={"key": "k", "parameters": 1000, "members": 1, "accuracy": 0.95},
    reference={"accuracy": 0.1, "parameters": 1000},
)


def run(arm, seed, test, state="complete"):
    line = {"stage": "distil", "epoch": 1, "seconds": 2.0, "evaluation_seconds": 0.5}
    measured = {"accuracy": test + 0.01, "test_accuracy": test} if state == "complete" else {}
    return RepeatRecord(
        arm=arm, seed=seed, label=arm, state=state, fingerprint=arm, recipe={}, described={}, seeds={}, known={},
        measured=measured, curve=[line, line],
    )  # fmt: skip


def question(name, trial, *arms):
    return Question(
        name=name,
        trial=trial,
        arms=tuple(Arm(label=label, key=key, fingerprint=key) for label, key in arms),
        seeds=(0, 1),
    )


def test_a_gain_is_distilled_minus_alone_and_a_comparison_is_against_its_first_arm():
    runs = (run("d", 0, 0.92), run("d", 1, 0.94), run("a", 0, 0.90), run("a", 1, 0.91))
    asked = (question("confirm", 3, (DISTILLED, "d"), (ALONE, "a")), question("T", 3, ("T = 1", "d"), ("T = 2", "a")))
    confirmation, comparison = findings(Confirmed(asked, runs), FACTS)
    assert confirmation.arms[0].difference is None
    gain = confirmation.arms[1].difference
    assert gain.mean == pytest.approx(0.025)
    # differences 0.02 and 0.03: standard error 0.005, t(0.975; 1) = 12.7062
    assert (gain.low, gain.high) == (
        pytest.approx(0.025 - 0.063531, abs=1e-5),
        pytest.approx(0.025 + 0.063531, abs=1e-5),
    )
    assert confirmation.arms[1].said == "unclear"
    assert comparison.arms[1].difference.mean == pytest.approx(-0.025)
    assert comparison.arms[1].said == "no effect seen"
    assert (comparison.arms[1].seconds, comparison.arms[1].epochs) == (5.0, 2.0)


def test_members_are_pooled_seed_by_seed():
    runs = tuple(
        run(f"{arm}{member}", seed, level + 0.1 * member + 0.01 * seed)
        for member in (0, 1)
        for arm, level in (("d", 0.72), ("a", 0.70))
        for seed in (0, 1)
    )
    asked = tuple(question("confirm", m, (DISTILLED, f"d{m}"), (ALONE, f"a{m}")) for m in (0, 1))
    *_, whole = findings(Confirmed(asked, runs), FACTS)
    assert (whole.trial, whole.members) == (None, 2)
    expected = evidence.difference_interval({0: 0.77, 1: 0.78}, {0: 0.75, 1: 0.76}, 1000)
    assert whole.arms[1].difference.mean == pytest.approx(expected.mean)
    assert whole.arms[1].said == "unclear" or expected.low > 0


def test_members_that_left_the_front_are_shown_as_such_and_not_pooled():
    runs = tuple(run(key, seed, 0.9) for key in ("d", "a", "e", "b") for seed in (0, 1))
    asked = (
        question("confirm", 3, (DISTILLED, "d"), (ALONE, "a")),
        question("confirm", 4, (DISTILLED, "e"), (ALONE, "b")),
    )
    confirmed = Confirmed(asked, runs)
    assert [(one.trial, one.on_front) for one in findings(confirmed, FACTS, {3, 4})] == [
        (3, True),
        (4, True),
        (None, True),
    ]
    assert [(one.trial, one.on_front) for one in findings(confirmed, FACTS, {4})] == [(3, False), (4, True)]


def test_a_member_without_a_complete_run_does_not_take_the_verdict_from_the_others():
    runs = tuple(run(key, seed, 0.9) for key in ("d0", "a0", "d1", "a1", "d2") for seed in (0, 1))
    failed = (run("a2", 0, 0.0, state="failed"),)
    asked = tuple(question("confirm", m, (DISTILLED, f"d{m}"), (ALONE, f"a{m}")) for m in (0, 1, 2))
    *_, whole = findings(Confirmed(asked, runs + failed), FACTS)
    assert (whole.trial, whole.members) == (None, 2)


def test_what_failed_is_no_accident_of_the_other_seeds():
    runs = (run("d", 0, 0.95), run("d", 1, 0.951), run("a", 0, 0.8), run("a", 1, 0.8), run("a", 2, 0, state="failed"))
    (found,) = findings(Confirmed((question("confirm", 1, (DISTILLED, "d"), (ALONE, "a")),), runs), FACTS)
    assert found.arms[1].difference.low > 0
    assert found.arms[1].said == "unclear"


def test_one_training_under_two_labels_differs_by_nothing():
    runs = (run("d", 0, 0.95), run("d", 1, 0.92))
    (found,) = findings(Confirmed((question("confirm", 1, (DISTILLED, "d"), (ALONE, "d")),), runs), FACTS)
    assert (found.arms[1].difference.low, found.arms[1].difference.high) == (0, 0)
    assert found.arms[1].said == "no better"


def test_a_label_that_means_another_recipe_now_has_that_ones_runs(tmp_path):
    ledger = Ledger(open_storage(f"sqlite:///{tmp_path / 'o.db'}", create=True), "hand", "0")
    ledger.ask([question("mine", None, ("a", "k1"), ("soft", "old"))])
    ledger.ask([question("mine", None, ("a", "k1"), ("soft", "new"))])
    assert [arm.key for arm in ledger.read().questions[0].arms] == ["k1", "new"]


def test_a_new_study_of_an_old_name_has_a_ledger_of_its_own(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path / 'o.db'}", create=True)
    Ledger(storage, "hand", "0").add(run("d", 0, 0.9))
    assert Ledger(storage, "hand", "1").read() == Confirmed()


def test_failed_runs_are_counted_and_questions_without_a_result_are_left_out():
    runs = (run("d", 0, 0.9), run("a", 0, 0.0, state="failed"))
    (found,) = findings(Confirmed((question("confirm", 1, (DISTILLED, "d"), (ALONE, "a")),), runs), FACTS)
    assert [arm.failed for arm in found.arms] == [0, 1]
    assert found.arms[1].said is None
    assert findings(Confirmed((question("confirm", 1, (DISTILLED, "x"), (ALONE, "y")),), ()), FACTS) == []


def test_the_frames_have_a_row_for_each_arm_and_columns_for_confirmed_trials_alone():
    runs = (run("d", 0, 0.92), run("d", 1, 0.94), run("a", 0, 0.90), run("a", 1, 0.91))
    confirmed = Confirmed((question("confirm", 3, (DISTILLED, "d"), (ALONE, "a")),), runs)
    tidy = findings_frame(findings(confirmed, FACTS))
    assert tidy["arm"].tolist() == [DISTILLED, ALONE]
    assert tidy["seeds"].tolist() == [2, 2]
    table = pd.DataFrame({"on_front": [True, True]}, index=[3, 4])
    joined = with_confirmation(table, confirmed, FACTS)
    assert joined.loc[3, "test_accuracy"] == pytest.approx(0.93)
    assert joined.loc[3, "verdict"] == "unclear"
    assert joined.loc[4].drop("on_front").isna().all()
    assert with_confirmation(table, Confirmed(), FACTS) is table


def test_a_ledger_gives_back_what_was_written_and_joins_questions(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path / 'o.db'}", create=True)
    ledger = Ledger(storage, "hand", "0")
    assert ledger.read() == Confirmed()
    first = question("confirm", 3, (DISTILLED, "d"), (ALONE, "a"), ("permuted teacher", "p"))
    ledger.ask([first])
    ledger.ask([question("confirm", 3, (DISTILLED, "d"), (ALONE, "a"), ("start none", "s"))])
    for record in (run("d", 0, 0.5, state="failed"), run("d", 0, 0.9), run("a", 0, 0.8)):
        ledger.add(record)
    ledger.note_teacher(0.75)
    read = Ledger(open_storage(f"sqlite:///{tmp_path / 'o.db'}", create=False), "hand", "0").read()
    assert [arm.label for arm in read.questions[0].arms] == [DISTILLED, ALONE, "start none", "permuted teacher"]
    assert read.records == (run("d", 0, 0.9), run("a", 0, 0.8)), "of an arm's runs on one seed the last counts"
    assert read.teacher_test_accuracy == 0.75
