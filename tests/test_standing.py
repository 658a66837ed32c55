"""Where trials stand among each other."""

from dataclasses import replace

from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.tracking.standing import front, ranks

FACTS = StudyFacts(
    id="a" * 32, name="s", card="", file=None, smoke=False, objectives=["accuracy", "parameters"], seed=0,
    data={}, teacher={"parameters": 1000, "accuracy": 0.9}, reference={"accuracy": 0.1, "parameters": 1000},
)  # fmt: skip


def trial(number, accuracy, parameters, macs=0, state="complete"):
    measured = {"accuracy": accuracy} if state == "complete" else {}
    return TrialRecord(
        number=number, state=state, params={}, recipe={}, described={}, fingerprint="", seeds={},
        known={"parameters": parameters, "macs": macs}, measured=measured,
    )  # fmt: skip


# 0 and 1 are on the front; 2 is dominated by 1 alone, 3 by 1 and 2; the others have no accuracy
TRIALS = [
    trial(0, 0.9, 100, macs=5),
    trial(1, 0.8, 50, macs=9),
    trial(2, 0.7, 60, macs=3),
    trial(3, 0.6, 70, macs=8),
    trial(4, 0, 10, state="failed"),
    trial(5, 0, 10, state="running"),
]


def test_the_front_is_rank_0_and_what_is_left_without_it_has_the_next():
    assert front(TRIALS, FACTS) == {0, 1}
    assert ranks(TRIALS, FACTS) == {0: 0, 1: 0, 2: 1, 3: 2}


def test_a_third_objective_counts():
    facts = replace(FACTS, objectives=["accuracy", "parameters", "macs"])
    assert front(TRIALS, facts) == {0, 1, 2}, "2 has the fewest macs"
    assert ranks(TRIALS, facts) == {0: 0, 1: 0, 2: 0, 3: 1}


def test_without_a_complete_trial_nobody_stands_anywhere():
    assert front(TRIALS[4:], FACTS) == set()
    assert ranks(TRIALS[4:], FACTS) == {}
