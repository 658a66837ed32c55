"""How often a segment is tried and how long it may be silent, on a clock that only the test moves."""

from concurrent.futures import Future

import pytest

from kdsearch.attempts import Attempts, Lost
from kdsearch.events import TrialEpoch
from kdsearch.mistakes import Mistake
from kdsearch.processes import BlamelessError, LostError
from kdsearch.trial import Failed, Progress


class Hands:
    """An executor whose segments end when the test says so; those that are abandoned are lost."""

    epoch_seconds = 1.0

    def __init__(self):
        self.futures, self.told, self.taken_up, self.abandoned = {}, [], set(), []

    def submit(self, segment):
        self.futures[segment.trial] = Future()
        self.taken_up.add(segment.trial)
        return self.futures[segment.trial]

    def wait(self, under_way, timeout):
        return {future for future in under_way if future.done()}

    def events(self):
        told, self.told = self.told, []
        return [TrialEpoch(number, {"seconds": self.epoch_seconds, "evaluation_seconds": 1.0}) for number in told]

    def running(self, future):
        return self.number(future) in self.taken_up

    def abandon(self, future):
        self.abandoned.append(self.number(future))
        future.set_exception(LostError("its worker was ended"))

    def stop(self):
        pass

    def number(self, future):
        return next(number for number, known in self.futures.items() if known is future)


class Trial:
    def __init__(self, trial):
        self.trial = trial


@pytest.fixture
def hands():
    return Hands()


@pytest.fixture
def clock():
    class Clock:
        minutes = 0.0

        def __call__(self):
            return 60 * self.minutes

    return Clock()


@pytest.fixture
def attempts(hands, clock):
    return Attempts(hands, clock=clock, stall_minutes=5)


def outcomes(attempts):
    return list(attempts.outcomes(lambda event: None))


def test_a_segment_that_ends_no_epoch_in_its_time_is_taken_from_its_worker_and_no_other_is(attempts, hands, clock):
    for number in (1, 2):
        attempts.submit(Trial(number))
    assert outcomes(attempts) == []
    clock.minutes = 4
    hands.told = [2]
    assert outcomes(attempts) == []
    clock.minutes = 5.1
    assert outcomes(attempts) == []
    assert hands.abandoned == [1]
    assert outcomes(attempts) == [(1, Lost(reason="made no progress in 5 minutes (--stall-minutes)"))]
    assert len(attempts) == 1
    clock.minutes = 9.1  # five after its epoch
    outcomes(attempts)
    assert hands.abandoned == [1, 2]


def test_one_that_stalls_each_time_fails_after_three_tries_with_the_reason(attempts, hands, clock):
    for last in (False, False, True):
        attempts.submit(Trial(1))
        outcomes(attempts)
        clock.minutes += 6
        outcomes(attempts)
        ((number, outcome),) = outcomes(attempts)
        assert number == 1
        assert isinstance(outcome, Failed) == last
    assert outcome.reason == (
        "made no progress in 5 minutes (--stall-minutes), 3 times with the same segment; give it more --stall-minutes "
        "where an epoch takes so long"
    )


def test_one_that_waits_for_a_worker_does_not_stall(attempts, hands, clock):
    attempts.submit(Trial(1))
    hands.taken_up.clear()
    for _ in range(3):
        clock.minutes += 60
        outcomes(attempts)
    assert hands.abandoned == []
    hands.taken_up.add(1)
    outcomes(attempts)
    clock.minutes += 4
    outcomes(attempts)
    assert hands.abandoned == []
    clock.minutes += 2
    outcomes(attempts)
    assert hands.abandoned == [1]


def test_zero_minutes_are_no_limit(hands, clock):
    attempts = Attempts(hands, clock=clock, stall_minutes=0)
    attempts.submit(Trial(1))
    for _ in range(3):
        outcomes(attempts)
        clock.minutes += 1e6
    assert hands.abandoned == []


def test_tries_are_counted_by_segment_not_by_trial(attempts, hands):
    progress = Progress(trial=1, state=None)
    for lost in (True, True, False, True, True, False):
        attempts.submit(Trial(1))
        if lost:
            hands.futures[1].set_exception(LostError("its worker ended"))
        else:
            hands.futures[1].set_result(progress)
        assert outcomes(attempts) == [(1, Lost(reason="its worker ended") if lost else progress)]


def test_a_segment_that_no_worker_could_take_up_is_not_held_against_its_trial(attempts, hands):
    for _ in range(9):
        attempts.submit(Trial(1))
        hands.futures[1].set_exception(BlamelessError("the machine n1 is full"))
        assert outcomes(attempts) == [(1, Lost(reason="the machine n1 is full"))]


def test_what_keeps_workers_from_working_is_raised_and_costs_the_others_nothing(attempts, hands):
    progress = Progress(trial=2, state=None)
    for number in (1, 2):
        attempts.submit(Trial(number))
    hands.futures[1].set_exception(ValueError("no data"))
    hands.futures[2].set_result(progress)
    with pytest.raises(ValueError, match="no data"):
        outcomes(attempts)
    assert outcomes(attempts) == [(2, progress)]


def wound_down(attempts, clock):
    given = []
    for one in attempts.wind_down(lambda event: None):
        given.append(one)
        clock.minutes += 1
    return given


TOO_LONG = Lost(reason="the epoch it was in took too long to wait for, and is given up")


def test_winding_down_gives_what_ends_in_the_grace_and_waits_no_longer(attempts, hands, clock):
    progress = Progress(trial=1, state=None)
    for number in (1, 2):
        attempts.submit(Trial(number))
    hands.futures[1].set_result(progress)
    assert wound_down(attempts, clock) == [(1, progress), (2, TOO_LONG)]
    assert len(attempts) == 0
    assert hands.abandoned == [2]


def test_the_grace_is_of_the_length_of_two_epochs_and_more(attempts, hands, clock):
    attempts.submit(Trial(1))
    assert attempts.grace_seconds == 20
    hands.told, hands.epoch_seconds = [1], 299.0
    outcomes(attempts)
    assert attempts.grace_seconds == 20 + 2 * 300


def test_what_keeps_workers_from_working_does_not_keep_a_wind_down_from_its_end(attempts, hands, clock):
    progress = Progress(trial=3, state=None)
    for number in (1, 2, 3):
        attempts.submit(Trial(number))
    for number in (1, 2):
        hands.futures[number].set_exception(Mistake("the connection is lost"))
    hands.futures[3].set_result(progress)
    lost = Lost(reason="the connection is lost")
    assert list(attempts.wind_down(lambda event: None)) == [(1, lost), (2, lost), (3, progress)]


def test_a_wind_down_that_was_broken_off_goes_on_within_the_same_grace(attempts, hands, clock):
    for number in (1, 2):
        attempts.submit(Trial(number))
    hands.futures[1].set_exception(RuntimeError("a fault of ours"))
    with pytest.raises(RuntimeError):
        list(attempts.wind_down(lambda event: None))
    clock.minutes += 1
    assert list(attempts.wind_down(lambda event: None)) == [(2, TOO_LONG)]


def test_what_has_ended_by_then_is_taken_in_however_long_another_took_to_be_kept(attempts, hands, clock):
    progress = [Progress(trial=number, state=None) for number in range(3)]
    for number in range(3):
        attempts.submit(Trial(number))
    hands.futures[0].set_result(progress[0])
    given = []
    for one in attempts.wind_down(lambda event: None):
        if not given:
            clock.minutes += 30  # the database was away
            for number in (1, 2):
                hands.futures[number].set_result(progress[number])
        given.append(one)
    assert given == list(enumerate(progress))


def test_a_loss_while_winding_down_fails_no_trial(attempts, hands):
    for _ in range(2):
        attempts.submit(Trial(1))
        hands.futures[1].set_exception(LostError("its worker ended"))
        outcomes(attempts)
    attempts.submit(Trial(1))
    hands.futures[1].set_exception(LostError("its worker ended"))
    assert list(attempts.wind_down(lambda event: None)) == [(1, Lost(reason="its worker ended"))]


def test_an_epoch_of_a_segment_that_was_given_up_is_not_told_as_anothers(attempts, hands, clock):
    for number in (1, 3):
        attempts.submit(Trial(number))
    hands.futures[3].set_result(Progress(trial=3, state=None))
    assert wound_down(attempts, clock)[-1] == (1, TOO_LONG)
    attempts.submit(Trial(2))
    hands.told = [1, 2]
    told = []
    list(attempts.outcomes(told.append))
    assert [event.trial for event in told] == [2]
