"""Expected hypervolume gain: by hand, and against drawn accuracies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from kdsearch.gain import covered, expected_excess, expected_gain
from kdsearch.pareto import hypervolume


def test_excess_of_a_certain_accuracy_is_the_difference():
    excess = expected_excess(logit(np.array([0.8, 0.3])), np.array([1e-4, 1e-4]), np.array([0.0, 0.5, 0.9]))
    np.testing.assert_allclose(excess, [[0.8, 0.3, 0.0], [0.3, 0.0, 0.0]], atol=1e-5)


def test_excess_of_an_even_belief_over_its_own_median():
    # half of E|sigmoid(g) - 1/2|, which for a tiny std is the slope 1/4 times std / sqrt(2 pi)
    excess = expected_excess(np.array([0.0]), np.array([0.01]), np.array([0.5]))
    assert excess[0, 0] == pytest.approx(0.25 * 0.01 / np.sqrt(2 * np.pi), rel=1e-4)


@given(st.floats(-6, 6), st.floats(0.01, 4), st.floats(0, 1))
def test_excess_is_the_mean_over_quantiles(mean, std, level):
    from scipy.stats import norm

    quantiles = norm.ppf((np.arange(20_000) + 0.5) / 20_000, mean, std)
    drawn = np.maximum(expit(quantiles) - level, 0).mean()
    assert expected_excess(np.array([mean]), np.array([std]), np.array([level]))[0, 0] == pytest.approx(drawn, abs=3e-5)


def test_a_staircase_worked_by_hand():
    # members: accuracy 0.6 from 1, 0.9 from 3; the reference at 4: below the candidate at 2 lie one unit of either
    volumes = covered(
        np.array([[2.0], [0.0]]),
        np.array([0.1, 0.6, 0.9]),
        np.array([0.9, 0.6]),
        np.array([[3.0], [1.0]]),
        np.array([4.0]),
    )
    np.testing.assert_allclose(volumes, [[0, 1, 1], [1, 2, 1]])
    certain = expected_gain(
        logit(np.array([0.7])),
        np.array([1e-4]),
        np.array([[2.0]]),
        np.array([0.9, 0.6]),
        np.array([[3.0], [1.0]]),
        0.1,
        np.array([4.0]),
    )
    assert certain[0] == pytest.approx(0.1, abs=1e-5)  # 0.7 over 0.6 for one unit, nothing over 0.9


sizes = st.floats(0, 5)
shares = st.floats(0.02, 0.98)


@given(st.lists(st.tuples(sizes, shares), max_size=6), sizes, st.floats(-3, 3), st.floats(0.05, 2))
def test_the_gain_is_that_of_drawn_accuracies(members, size, mean, std):
    reference = np.array([-0.1, 4.0])
    points = np.array([[-share, at] for at, share in members]).reshape(-1, 2)
    before = hypervolume(points, reference)
    drawn = expit(mean + std * np.random.default_rng(0).standard_normal(2000))
    gains = [hypervolume(np.vstack([points, [[-accuracy, size]]]), reference) - before for accuracy in drawn]
    gain = expected_gain(
        np.array([mean]), np.array([std]), np.array([[size]]), -points[:, 0], points[:, 1:], 0.1, reference[1:]
    )
    assert gain[0] == pytest.approx(np.mean(gains), abs=5 * np.std(gains) / np.sqrt(2000) + 1e-4)


def test_two_known_objectives_and_none():
    # one member at (1, 2) with 0.5; the reference at (3, 3). The candidate at (0, 1) covers 3 x 2; 2 x 1 of it has 0.5
    gain = expected_gain(
        logit(np.array([0.7])),
        np.array([1e-4]),
        np.array([[0.0, 1.0]]),
        np.array([0.5]),
        np.array([[1.0, 2.0]]),
        0.1,
        np.array([3.0, 3.0]),
    )
    assert gain[0] == pytest.approx(4 * 0.6 + 2 * 0.2, abs=1e-4)
    alone = expected_gain(
        logit(np.array([0.7])),
        np.array([1e-4]),
        np.empty((1, 0)),
        np.array([0.5, 0.6]),
        np.empty((2, 0)),
        0.1,
        np.empty(0),
    )
    assert alone[0] == pytest.approx(0.1, abs=1e-4)


def test_what_is_not_below_the_reference_gains_nothing():
    gain = expected_gain(
        np.array([3.0]), np.array([1.0]), np.array([[4.0]]), np.empty(0), np.empty((0, 1)), 0.1, np.array([4.0])
    )
    assert gain[0] == 0
