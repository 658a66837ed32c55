"""Trials as a table, and what is read off it, on hand-made trials."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsearch.frame import frame, front, hypervolume
from kdsearch.records import StudyFacts, TrialRecord

FACTS = StudyFacts(
    id="0" * 32,
    name="made",
    card="",
    file=None,
    smoke=False,
    objectives=["accuracy", "parameters"],
    seed=0,
    data={
        "name": "made",
        "fingerprint": "f",
        "classes": 10,
        "shape": [1, 8, 8],
        "train": 1000,
        "validation": 500,
        "test": 500,
    },
    teacher={"key": "k", "parameters": 10_000, "members": 1, "accuracy": 0.95},
    reference={"accuracy": 0.1, "parameters": 10_000},
)


def record(number: int, parameters: int, accuracy: float | None, state: str = "complete", **changes) -> TrialRecord:
    measured = {"accuracy": accuracy} if accuracy is not None else {}
    whole = {
        "number": number,
        "state": state,
        "params": {},
        "recipe": {},
        "described": {"family": "ConvNet", "temperature": 4.0, "start": "none"},
        "fingerprint": f"{number:016x}",
        "seeds": {},
        "known": {"parameters": parameters},
        "measured": measured,
        "began_ms": number,
        "ended_ms": 1000 + number,
    }
    return TrialRecord(**whole | changes)


# trial 2 is dominated by 1, trial 3 by 0; 4 to 7 never became complete
RECORDS = [
    record(0, 1000, 0.80),
    record(1, 100, 0.60),
    record(2, 200, 0.55),
    record(3, 2000, 0.80),
    record(4, 50, None, "screened", reason="too small"),
    record(5, 10, None, "failed", reason="diverged", ended_ms=None),
    record(6, 10, None, "running", ended_ms=None),
    record(7, 10, 0.99, "pruned"),
]


def test_one_row_per_trial_in_their_order():
    table = frame(RECORDS[::-1], FACTS)
    assert table.index.tolist() == list(range(8))
    assert table.loc[0, "family"] == "ConvNet"
    assert table.loc[4, "reason"] == "too small"
    assert table.loc[0, "share"] == pytest.approx(0.1)
    assert math.isnan(table.loc[6, "accuracy"])
    assert table.loc[6, "parameters"] == 10


def test_the_front_is_of_complete_trials_by_rising_parameters():
    table = frame(RECORDS, FACTS)
    assert front(table).index.tolist() == [1, 0]
    assert table.index[table["on_front"]].tolist() == [0, 1]


def test_hypervolume_by_hand():
    # accuracy above 0.1 times log10 parameters below 4: (0.6 - 0.1) * (4 - 2), and 0.2 * (4 - 3) more
    table = frame(RECORDS, FACTS)
    assert hypervolume(table, FACTS) == pytest.approx(0.5 * 2 + 0.2 * 1)
    assert table["hypervolume"][:4].tolist() == pytest.approx([0.7 * 1, 0.7 + 0.5 * 2 - 0.5 * 1, 1.2, 1.2])
    assert table["hypervolume"][4:].isna().all()


def test_hypervolume_grows_in_the_order_in_which_trials_ended():
    table = frame([record(0, 1000, 0.8, ended_ms=9), record(1, 100, 0.6, ended_ms=5)], FACTS)
    assert table["hypervolume"].tolist() == pytest.approx([1.2, 1.0])


def test_students_worse_than_guessing_or_larger_than_the_teacher_add_nothing():
    assert hypervolume(frame([record(0, 100, 0.1), record(1, 10_000, 0.9)], FACTS), FACTS) == 0.0


trials = st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 20)), min_size=1, max_size=15)


def table_of(pairs):
    return frame([record(number, size, hits / 20) for number, (size, hits) in enumerate(pairs)], FACTS)


@given(trials)
def test_hypervolume_never_falls_and_ends_at_the_whole(pairs):
    table = table_of(pairs)
    assert (np.diff(table["hypervolume"]) >= -1e-12).all()
    assert table["hypervolume"].iloc[-1] == pytest.approx(hypervolume(table, FACTS))


@given(trials)
def test_no_member_of_the_front_is_dominated_and_every_other_trial_is(pairs):
    table = table_of(pairs)
    for number, (size, hits) in enumerate(pairs):
        dominated = any((s <= size and h >= hits) and (s < size or h > hits) for s, h in pairs)
        assert table.loc[number, "on_front"] == (not dominated)


@pytest.mark.parametrize("records", [[], RECORDS[4:]])
def test_a_study_without_complete_trials_has_an_empty_front(records):
    table = frame(records, FACTS)
    assert len(table) == len(records)
    assert front(table).empty
    assert hypervolume(table, FACTS) == 0.0


def test_a_front_of_three_objectives_keeps_what_is_best_in_the_third():
    facts = StudyFacts(**{**vars(FACTS), "objectives": ["accuracy", "parameters", "macs"]})
    records = [
        record(0, 100, 0.6, known={"parameters": 100, "macs": 500}),
        record(1, 200, 0.6, known={"parameters": 200, "macs": 50}),
        record(2, 200, 0.5, known={"parameters": 200, "macs": 60}),
    ]
    table = frame(records, facts)
    assert table.index[table["on_front"]].tolist() == [0, 1]
    assert frame(records, FACTS)["on_front"].tolist() == [True, False, False]
