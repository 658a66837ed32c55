import pytest

from kdsearch.pausing import Pauses
from kdsearch.recipe import Recipe
from kdsearch.records import Inherited, TrialRecord
from kdsearch.stages import Distil, Pretrain
from kdsearch.stopping import MOASHA
from kdsearch.students import MLP

RULE = MOASHA(rungs=(1 / 3, 1.0), reduction=3)
RECIPE = Recipe(
    student=MLP(width=4, depth=1), distil=Distil(), start=Pretrain(epochs=3), epochs=12
)  # rungs at 6 and 12


def curve(*accuracies: float) -> list[dict[str, float]]:
    return [{"validation_accuracy": accuracy} for accuracy in accuracies]


def record(number: int, state: str, accuracies: list[float], **changes: object) -> TrialRecord:
    whole = {
        "number": number,
        "state": state,
        "params": {},
        "recipe": {},
        "described": {"start_epochs": 3, "epochs": 12},
        "fingerprint": "",
        "seeds": {},
        "known": {"parameters": 100.0},
        "curve": curve(*accuracies),
    }
    return TrialRecord(**whole | changes)


def test_segments_end_at_rungs_of_the_distil_stage():
    pauses = Pauses(RULE, [], lambda number: False)
    assert pauses.end(RECIPE, 3, 10) == 6, "a third of the 9 epochs after the start's 3"
    assert pauses.end(RECIPE, 3, 5) == 5
    assert pauses.end(RECIPE, 6, 16) == 12
    assert [epoch for epoch in range(13) if pauses.stands(RECIPE, epoch)] == [6], "at the last rung it is complete"


def test_without_a_rule_nothing_ever_waits():
    pauses = Pauses(None, [record(0, "pruned", [0.5] * 6)], lambda number: True)
    assert not any(pauses.stands(RECIPE, epoch) for epoch in range(13))
    assert pauses.end(RECIPE, 3, 10) == 10
    pauses.arrived(1, RECIPE, {"parameters": 10}, curve(*[0.5] * 6))
    assert pauses.waiting == []
    assert pauses.promote(again=True) is None


def test_the_best_third_goes_on_and_only_once():
    pauses = Pauses(RULE, [], lambda number: False)
    for number, accuracy in enumerate((0.5, 0.9, 0.7)):
        pauses.arrived(number, RECIPE, {"parameters": 100}, curve(*[accuracy] * 6))
        assert pauses.promote(again=True) == (1 if number == 2 else None), "one of three"
    assert pauses.promote(again=True) is None
    assert pauses.waiting == [0, 2]


def test_a_failed_trial_leaves_the_board():
    pauses = Pauses(RULE, [], lambda number: False)
    for number in range(3):
        pauses.arrived(number, RECIPE, {"parameters": 100}, curve(*[0.5 + number / 10] * 6))
    pauses.forget(2)
    assert pauses.promote(again=True) is None, "two trials are too few for a third of them"


def test_complete_trials_of_earlier_runs_count():
    earlier = [record(number, "complete", [0.1] * 12, measured={"accuracy": 0.1}) for number in range(2)]
    pauses = Pauses(RULE, earlier, lambda number: False)
    pauses.arrived(2, RECIPE, {"parameters": 100}, curve(*[0.9] * 6))
    assert pauses.promote(again=False) == 2


@pytest.mark.parametrize(("kept", "again", "expected"), [(True, True, 0), (True, False, None), (False, True, None)])
def test_pruned_trials_whose_state_is_kept_may_be_taken_up_again(kept, again, expected):
    earlier = [record(number, "pruned", [0.9 - number / 10] * 6) for number in range(3)]
    pauses = Pauses(RULE, earlier, lambda number: kept)
    assert pauses.promote(again=again) == expected


def test_what_was_taken_up_once_is_not_taken_up_again():
    earlier = [record(number, "pruned", [0.9 - number / 10] * 6) for number in range(3)]
    taken_up = record(3, "complete", [0.9] * 12, inherited=Inherited(kind="trial", trial=0, epochs=6))
    assert Pauses(RULE, [*earlier, taken_up], lambda number: True).promote(again=True) != 0
