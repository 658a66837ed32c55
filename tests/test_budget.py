import math

import pytest

from kdsearch.budget import Budget, Meter
from kdsearch.mistakes import Mistake
from kdsearch.records import StudyFacts, TrialRecord

FACTS = StudyFacts(
    id="1",
    name="s",
    card="",
    file=None,
    smoke=False,
    objectives=["accuracy", "parameters"],
    seed=0,
    data={},
    teacher={},
    reference={"accuracy": 0.1, "parameters": 1000},
)


def record(number: int, state: str = "complete", accuracy: float = 0.5, epochs: int = 3) -> TrialRecord:
    return TrialRecord(
        number=number,
        state=state,
        params={},
        recipe={},
        described={},
        fingerprint="",
        seeds={},
        known={"parameters": 100.0},
        measured={"accuracy": accuracy, "parameters": 100.0} if state == "complete" else {},
        curve=[{"seconds": 1.0, "evaluation_seconds": 0.0}] * epochs,
        ended_ms=number,
    )


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def meter(records=(), **budget) -> Meter:
    return Meter(Budget(**{"trials": 10, **budget}), FACTS, records, Clock())


def test_screened_proposals_are_free():
    spent = meter([record(0), record(1, "screened"), record(2, "failed")], trials=3)
    assert spent.room
    spent.begun()
    assert not spent.room
    assert spent.exceeded is None, "trials that wait may go on"


def test_minutes_are_of_this_run():
    clock = Clock()
    spent = Meter(Budget(trials=10, minutes=2), FACTS, [], clock)
    clock.now += 119.9
    assert spent.room
    clock.now += 0.2
    assert spent.late
    assert spent.exceeded == "the time given is over"


def test_epochs_are_of_all_runs_together():
    spent = meter([record(0), record(1)], epochs=8)
    assert spent.room
    spent.trained(2)
    assert not spent.room
    assert "8 epochs are trained, of 8" in spent.exceeded


def test_patience_counts_complete_trials_since_the_hypervolume_last_grew():
    spent = meter([record(0, accuracy=0.5), record(1, accuracy=0.4)], patience=3)
    spent.complete(0.5, 100)  # no better than trial 0
    assert spent.room
    spent.complete(0.6, 100)  # a gain: patience begins anew
    spent.complete(0.6, 100)
    spent.complete(0.2, 5000)  # above the reference's size
    assert spent.room
    spent.complete(math.nextafter(0.6, 0), 101)
    assert "has not grown for 3 complete trials" in spent.exceeded


@pytest.mark.parametrize("name", ["trials", "minutes", "epochs", "patience"])
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_limits_must_be_above_zero(name, value):
    with pytest.raises(Mistake, match=f"{name} must be above 0"):
        Budget(**{"trials": 10, name: value})
