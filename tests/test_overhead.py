"""The busy share of workers, by hand."""

import pytest

from benchmarks.overhead import shares, spans
from kdsearch.records import TrialRecord


def record(number: int, *epochs: tuple[float, float, float]) -> TrialRecord:
    """A trial of epochs (end, seconds of steps, seconds of evaluation)."""
    curve = [{"at_ms": 1000 * end, "seconds": steps, "evaluation_seconds": judged} for end, steps, judged in epochs]
    return TrialRecord(
        number=number, state="complete", params={}, recipe={}, described={}, fingerprint="", seeds={}, known={},
        curve=curve,
    )  # fmt: skip


def test_an_epochs_line_tells_when_it_began_and_when_its_steps_were_done():
    assert spans(record(0, (10, 3, 1), (14, 2, 2))) == [(6, 9, 10), (10, 12, 14)]


def test_shares_are_of_the_time_when_all_workers_have_work():
    # two workers: the steady part is from 2, when the second begins, to 12, when the last trial does
    trials = [record(0, (5, 4, 1), (10, 4, 1)), record(1, (10, 6, 2)), record(2, (18, 6, 0))]
    # steps 2-4, 5-9 and 2-8, evaluation 4-5, 9-10 and 8-10, each of 2 * 10 seconds
    assert shares(trials, workers=2) == pytest.approx((12 / 20, 4 / 20))
