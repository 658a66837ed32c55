"""What is known of a search while it runs, counted by hand."""

import math

import pytest

from kdsearch.accounting import account
from kdsearch.events import (
    RepeatBegan,
    RepeatEnded,
    RepeatEpoch,
    RepeatsBegan,
    SegmentBegan,
    SegmentEnded,
    TeacherMeasured,
    TrialBegan,
    TrialEnded,
    TrialEpoch,
    TrialWaits,
)
from kdsearch.progress.slots import Slots, Work
from kdsearch.progress.tally import Picture
from kdsearch.records import Inherited
from tests.events_for_tests import began, facts, line, repeat, trial


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def search(clock, *events, opening=None):
    picture = Picture(clock)
    for event in (opening or began(), *events):
        picture.hear(event)
    return picture.search


def test_golden_front_and_hypervolume_grow_trial_by_trial(clock):
    tally = search(
        clock,
        TrialEnded(trial(0, 0.6, 10_000)),  # (0.6 - 0.1) * (5 - 4)
        TrialEnded(trial(1, 0.5, 20_000)),  # dominated
        TrialEnded(trial(2, 0.4, 1_000)),  # adds (0.4 - 0.1) * (4 - 3)
        TrialEnded(trial(3, None, state="failed", reason="it broke")),
        TrialEnded(trial(4, None, state="screened", reason="too big")),
    )
    assert tally.growth == pytest.approx([0.5, 0.5, 0.8])
    assert tally.hypervolume == pytest.approx(0.8)
    assert [record.number for record in tally.front] == [2, 0]
    assert tally.best.number == 0
    assert tally.done == 4, "screened ones do not count"
    assert tally.counts == {"complete": 3, "failed": 1, "screened": 1}


def test_golden_time_left_is_the_pace_of_this_run(clock):
    earlier = [trial(number, 0.5) for number in range(4)]
    tally = search(clock, opening=began(*earlier, target=10))
    assert tally.seconds_left() is None
    clock.seconds = 60.0
    tally.hear(TrialEnded(trial(4, 0.5)))
    tally.hear(TrialEnded(trial(5, 0.5)))
    assert tally.seconds_left() == 120.0, "two in 60 seconds, four to go"
    tally.hear(TrialEnded(trial(6, None, state="screened", reason="too big")))
    assert tally.seconds_left() == 120.0


def test_golden_time_left_ends_with_the_minutes(clock):
    tally = search(clock, opening=began(target=10, minutes=2.0))
    clock.seconds = 60.0
    tally.hear(TrialEnded(trial(0, 0.5)))
    assert tally.seconds_left() == 60.0, "nine more would take 540 seconds, but a minute is left"


def test_epochs_are_counted_as_the_account_counts_them(clock):
    records = [
        trial(0, 0.5, start="hints"),
        trial(1, 0.6, start="hints", inherited=Inherited(kind="start", trial=0, epochs=2)),
        trial(2, None, state="pruned", curve=[line(1), line(2)], reason="waited"),
        trial(3, None, state="pruned", curve=[line(1)], reason="waited"),
        trial(4, 0.7, inherited=Inherited(kind="trial", trial=3, epochs=1)),
        trial(5, None, state="failed", curve=[line(1)], reason="it broke"),
    ]
    found = account(records, [])
    live = search(clock, *(TrialEnded(record) for record in records))
    stored = search(clock, opening=began(*records))
    for tally in (live, stored):
        assert tally.epochs_trained == found["epochs_trained"] == 5 + 3 + 2 + 1 + 4 + 1
        assert tally.epochs_shared == found["epochs_saved"]["shared_starts"] == 2
        assert tally.epochs_stopped == found["epochs_saved"]["early_stopping"] == 3


def test_workers_have_what_they_were_given_and_nothing_else(clock):
    tally = search(
        clock,
        *(TrialBegan(trial(number, start="hints")) for number in range(3)),
        SegmentBegan(0, 0, 5),
        SegmentBegan(1, 2, 5),
        TrialEpoch(0, line(2, "hints", 0.3)),
        TrialEpoch(1, line(1, "distil", 0.4)),
    )
    first, second = tally.slots.rows()
    assert (first.title, first.student, first.stage, first.epoch, first.epochs) == (
        *("trial 0", "ConvNet 1,000", "hints", 2, 5),
    )
    assert (second.stage, second.epoch, second.accuracy) == ("distil", 3, 0.4), "the start's two epochs are part of it"
    tally.hear(SegmentEnded(0))
    tally.hear(TrialWaits(0, 2, 5))
    tally.hear(TrialEpoch(0, line(2, "hints")))  # late
    assert (tally.slots.rows()[0], tally.waiting) == (None, {0})
    tally.hear(SegmentBegan(2, 0, 5))
    assert tally.slots.rows()[0].title == "trial 2"
    tally.hear(SegmentEnded(1))
    tally.hear(SegmentBegan(0, 2, 5))
    assert tally.waiting == set()
    assert [work.title for work in tally.slots.rows()] == ["trial 2", "trial 0"]


def test_a_worker_keeps_its_number_as_long_as_it_works():
    slots = Slots(1)
    for key in "ab":
        slots.begin(key, Work(title=key, student="", epochs=1))
    slots.end("a")
    assert [work and work.title for work in slots.rows()] == [None, "b"], "more than there are workers are shown too"
    slots.begin("c", Work(title="c", student="", epochs=1))
    assert [work.title for work in slots.rows()] == ["c", "b"]


def test_the_teacher_stands_on_the_picture_once_it_is_measured(clock):
    tally = search(clock, opening=began(accuracy=math.nan))
    assert math.isnan(tally.teacher_accuracy)
    tally.hear(TeacherMeasured(0.97))
    assert tally.teacher_accuracy == 0.97


def test_golden_runs_on_fresh_seeds(clock):
    picture = Picture(clock)
    picture.hear(RepeatsBegan(facts(), wanted=10, done=4, workers=2))
    picture.hear(
        RepeatBegan("trial 1 alone", 3, epoch=0, epochs=5, start_epochs=0, family="ConvNet", parameters=1234.0)
    )
    picture.hear(RepeatEpoch("trial 1 alone", 3, line(2, accuracy=0.8)))
    work = picture.repeats.slots.rows()[0]
    assert (work.title, work.student, work.epoch) == ("trial 1 alone, seed 3", "ConvNet 1,234", 2)
    assert picture.repeats.seconds_left() is None
    clock.seconds = 30.0
    picture.hear(RepeatEnded(repeat("trial 1 alone", 3, 0.9)))
    picture.hear(RepeatEnded(repeat("trial 1 alone", 4, 0.8)))
    picture.hear(RepeatEnded(repeat("trial 1 distilled", 4, None)))
    assert picture.repeats.seconds_left() == 30.0, "three in 30 seconds, three to go"
    assert (picture.repeats.done, picture.repeats.failed) == (7, 1)
    assert dict(picture.repeats.test) == {"trial 1 alone": [0.9, 0.8]}
    assert picture.repeats.slots.rows() == [None, None]
