"""How often the live pages are drawn, on a clock of our own."""

import pytest

from kdsearch.tracking.pace import Pace


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def spend(pace, clock, seconds):
    with pace.spending():
        clock.now += seconds


def test_the_first_is_due_at_once_the_next_after_thirty_seconds():
    clock = Clock()
    pace = Pace(clock=clock)
    assert pace.due()
    spend(pace, clock, 0.1)
    clock.now += 29.9
    assert not pace.due()
    clock.now += 0.1
    assert pace.due()


def test_what_is_costly_waits_until_it_was_a_fiftieth_of_the_time():
    clock = Clock()
    pace = Pace(clock=clock)
    spend(pace, clock, 2.0)
    clock.now = 100 + 99.9
    assert not pace.due(), "2 of 99.9 seconds are more than 2 %"
    clock.now = 100 + 100.1
    assert pace.due()


def test_a_failure_counts_as_done():
    clock = Clock()
    pace = Pace(clock=clock)
    with pytest.raises(ZeroDivisionError), pace.spending():
        _ = 1 / 0
    assert not pace.due()
