import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsearch.mistakes import Mistake
from kdsearch.stopping import MOASHA, RULES, Bound, Mark, rung_epochs


def waiting(trial: int, parameters: int, *accuracies: float) -> Mark:
    return Mark(trial=trial, parameters=parameters, accuracies=accuracies, waiting=True)


def running(trial: int, parameters: int, *accuracies: float) -> Mark:
    return Mark(trial=trial, parameters=parameters, accuracies=accuracies, waiting=False)


complete = running  # as many accuracies as rungs

# few different values, so that ties and equal marks are common; two rungs: at most two accuracies
accuracies = st.integers(0, 10).map(lambda tenths: tenths / 10)
standings = st.one_of(
    st.tuples(st.tuples(accuracies), st.booleans()),
    st.tuples(st.tuples(accuracies, accuracies), st.just(False)),
    st.just(((), False)),
)
boards = st.lists(st.tuples(st.sampled_from([100, 300, 1000, 3000]), standings), max_size=30).map(
    lambda drawn: [
        Mark(trial=trial, parameters=parameters, accuracies=reached, waiting=waits)
        for trial, (parameters, (reached, waits)) in enumerate(drawn)
    ]
)
every_rule = pytest.mark.parametrize("rule", [MOASHA(), MOASHA(reduction=1.5), Bound(), Bound(neighbours=2)])


@every_rule
@given(marks=boards)
def test_only_waiting_trials_may_go_on_each_once(rule, marks):
    chosen = rule.promotable(marks)
    assert len(chosen) == len(set(chosen))
    assert set(chosen) <= {mark.trial for mark in marks if mark.waiting}


@every_rule
@given(marks=boards, random=st.randoms(use_true_random=False))
def test_the_order_of_marks_changes_nothing(rule, marks, random):
    shuffled = list(marks)
    random.shuffle(shuffled)
    assert rule.promotable(shuffled) == rule.promotable(marks)


@every_rule
def test_without_marks_nobody_goes_on(rule):
    assert rule.promotable([]) == []


def test_rules_by_name_have_their_defaults():
    assert {name: rule().rungs[-1] for name, rule in RULES.items()} == {"moasha": 1.0, "bound": 1.0}


# MO-ASHA


def test_the_best_third_goes_on_and_size_counts_like_accuracy():
    marks = [
        waiting(0, 1000, 0.9),  # rank 0
        waiting(1, 100, 0.5),  # rank 0: the smallest
        waiting(2, 1000, 0.8),
        waiting(3, 1000, 0.7),
        waiting(4, 1000, 0.6),
        waiting(5, 1000, 0.4),
    ]
    assert MOASHA().promotable(marks) == [0, 1]


def test_a_trial_that_just_arrived_may_go_on_at_once_where_it_is_among_the_best():
    marks = [waiting(0, 1000, 0.5), waiting(1, 1000, 0.6)]
    assert MOASHA().promotable(marks) == []  # a third of two is none yet
    assert MOASHA().promotable([*marks, waiting(2, 1000, 0.7)]) == [2]
    assert MOASHA().promotable([*marks, waiting(2, 1000, 0.1)]) == [1]


def test_those_that_went_on_keep_their_place_among_the_best():
    marks = [running(0, 1000, 0.9), waiting(1, 1000, 0.8), waiting(2, 1000, 0.7)]
    assert MOASHA().promotable(marks) == []
    more = [waiting(trial, 1000, 0.1) for trial in (3, 4, 5)]
    assert MOASHA().promotable(marks + more) == [1]  # two of six: one of them went on before


def test_complete_trials_are_compared_by_what_they_were_at_the_rung():
    marks = [complete(0, 1000, 0.2, 0.99), waiting(1, 1000, 0.8), waiting(2, 1000, 0.7)]
    assert MOASHA().promotable(marks) == [1]


def test_within_a_rank_the_epsilon_net_order_decides():
    # one rank on a line; of 6 two may go on: the most accurate, then the farthest from it, the smallest
    marks = [waiting(trial, 10 ** (trial + 1), 0.1 * (trial + 1)) for trial in range(6)]
    assert MOASHA().promotable(marks) == [5, 0]


def test_the_highest_rung_comes_first():
    rule = MOASHA(rungs=(1 / 9, 1 / 3, 1.0))
    marks = [waiting(0, 1000, 0.3, 0.5), running(1, 1000, 0.2, 0.4), running(2, 1000, 0.2, 0.4), waiting(3, 1000, 0.9)]
    marks += [waiting(4, 1000, 0.1), waiting(5, 1000, 0.1)]
    assert rule.promotable(marks) == [0, 3]


@given(boards)
def test_what_is_let_on_is_never_dominated_by_what_has_to_wait(marks):
    chosen = set(MOASHA().promotable(marks))
    points = {mark.trial: (-mark.accuracies[0], mark.parameters) for mark in marks if mark.waiting}
    for trial in chosen:
        for other in points.keys() - chosen:
            better = points[other] != points[trial]
            assert not (better and all(a <= b for a, b in zip(points[other], points[trial], strict=True)))


@given(boards)
def test_a_third_of_those_who_reached_the_rung_have_gone_on_or_may(marks):
    reached = [mark for mark in marks if mark.accuracies]
    on = sum(not mark.waiting for mark in reached)
    allowed = len(reached) // 3
    chosen = MOASHA().promotable(marks)
    assert allowed - on <= len(chosen) <= allowed


@given(boards, st.integers(1, 5))
def test_newcomers_that_are_worse_than_all_take_nobodys_place(marks, newcomers):
    worse = [waiting(100 + more, 10_000, 0.0) for more in range(newcomers)]
    ahead = [mark for mark in marks if not mark.accuracies or mark.accuracies[0] > 0]
    before = MOASHA().promotable(ahead)
    assert set(before) <= set(MOASHA().promotable(ahead + worse))


# the optimistic bound


def logit(accuracy: float) -> float:
    return math.log(accuracy / (1 - accuracy))


def test_everyone_goes_on_until_one_is_complete():
    marks = [waiting(0, 1000, 0.3), waiting(1, 100, 0.1), running(2, 1000, 0.9)]
    assert sorted(Bound().promotable(marks)) == [0, 1]


def test_a_trial_waits_where_even_the_gain_of_its_likes_leaves_it_below_the_front():
    # both gained one logit
    rule = Bound(neighbours=2, margin=0.0)
    done = [complete(0, 500, 0.5, 1 / (1 + math.exp(-1))), complete(1, 500, 0.7, 1 / (1 + math.exp(-logit(0.7) - 1)))]
    bar = 0.7
    assert rule.promotable([*done, waiting(2, 500, bar + 0.01)]) == [2]
    assert rule.promotable([*done, waiting(2, 500, bar - 0.01)]) == []
    assert rule.promotable([*done, waiting(2, 499, bar - 0.01)]) == [2]  # no complete trial is so small


def test_a_tie_at_no_smaller_size_does_not_enter_the_front():
    rule = Bound(neighbours=1, margin=0.0)
    assert rule.promotable([complete(0, 500, 0.5, 0.8), waiting(1, 500, 0.5)]) == []


def test_few_complete_trials_leave_a_margin():
    one = [complete(0, 500, 0.5, 0.8)]
    assert Bound(neighbours=4, margin=1.0).promotable([*one, waiting(1, 500, 0.4)]) == [1]
    assert Bound(neighbours=1, margin=1.0).promotable([*one, waiting(1, 500, 0.4)]) == []


def test_the_gain_is_that_of_trials_that_stood_alike():
    rule = Bound(neighbours=2, margin=0.0, quantile=1.0)
    low = [complete(trial, 2000, 0.10 + 0.01 * trial, 0.97) for trial in range(2)]  # gained a lot
    high = [complete(trial, 2000, 0.80 + 0.01 * trial, 0.90) for trial in range(2, 5)]
    assert rule.promotable([*low, *high, waiting(5, 2000, 0.825)]) == []
    assert rule.promotable([*low, *high, waiting(5, 2000, 0.105)]) == [5]


def test_the_farthest_above_the_front_comes_first():
    rule = Bound(neighbours=1, margin=0.0)
    done = [complete(0, 100, 0.5, 0.6), complete(1, 1000, 0.8, 0.9)]
    assert rule.promotable([*done, waiting(2, 200, 0.9), waiting(3, 2000, 0.9), waiting(4, 200, 0.95)]) == [4, 2, 3]


def test_a_quantile_of_one_lets_on_all_that_lower_ones_do():
    random = np.random.default_rng(0)
    marks = [
        complete(trial, int(random.integers(100, 1000)), *np.sort(random.uniform(0.1, 0.95, 2)).tolist())
        for trial in range(40)
    ]
    marks += [waiting(trial, int(random.integers(100, 1000)), random.uniform(0.1, 0.9)) for trial in range(40, 80)]
    chosen = [set(replace(Bound(), quantile=quantile).promotable(marks)) for quantile in (0.0, 0.5, 1.0)]
    assert chosen[0] < chosen[1] < chosen[2]


# rungs


def test_rungs_are_whole_epochs_of_the_trials_own_distil_stage():
    assert rung_epochs((1 / 9, 1 / 3, 1.0), 0, 27) == (3, 9, 27)
    assert rung_epochs((1 / 9, 1 / 3, 1.0), 9, 27) == (11, 15, 27)
    assert rung_epochs((1 / 3, 1.0), 0, 10) == (4, 10)  # never before its fraction
    assert rung_epochs((1.0,), 3, 9) == (9,)


def test_rungs_that_coincide_come_an_epoch_later_and_share_the_last():
    assert rung_epochs((0.1, 0.2, 1.0), 0, 4) == (1, 2, 4)
    assert rung_epochs((0.9, 0.95, 1.0), 0, 10) == (9, 10, 10)
    assert rung_epochs((1 / 9, 1 / 3, 1.0), 1, 3) == (2, 3, 3)
    assert rung_epochs((1 / 3, 1.0), 0, 1) == (1, 1)


@given(
    st.lists(st.floats(0.01, 0.99), max_size=4, unique=True).map(lambda low: (*sorted(low), 1.0)),
    st.integers(0, 20),
    st.integers(1, 60),
)
def test_every_rung_is_reached_within_the_distil_stage(rungs, start, distil):
    epochs = rung_epochs(rungs, start, start + distil)
    assert len(epochs) == len(rungs)
    assert epochs[0] > start and epochs[-1] == start + distil
    assert all(low < high or low == high == start + distil for low, high in pairwise(epochs))


@pytest.mark.parametrize("rule", [MOASHA, Bound])
@pytest.mark.parametrize("rungs", [(), (0.0, 1.0), (0.5, 0.5, 1.0), (0.5, 0.3, 1.0), (0.5,), (0.5, 1.5), (math.nan, 1)])
def test_wrong_rungs_are_refused_with_the_value_and_a_way_out(rule, rungs):
    with pytest.raises(Mistake, match=r"rising fractions .* ending at 1, got .*; for instance \(1/3, 1\)"):
        rule(rungs=rungs)


@pytest.mark.parametrize("reduction", [1, 0.5, math.nan])
def test_a_reduction_that_reduces_nothing_is_refused(reduction):
    with pytest.raises(Mistake, match="reduction must be above 1, got"):
        MOASHA(reduction=reduction)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"quantile": 1.1}, "quantile must be"),
        ({"neighbours": 0}, "neighbours must"),
        ({"margin": -1.0}, "margin must"),
    ],
)
def test_a_bound_outside_of_its_ranges_is_refused(wrong, said):
    with pytest.raises(Mistake, match=said):
        Bound(**wrong)
