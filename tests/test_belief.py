"""The Gaussian process: numbers by hand, and what its priors are for."""

import numpy as np
import pytest

from kdsearch.belief import Belief


def test_a_posterior_worked_by_hand():
    # values 1 and 3: centre 2, spread 1. Two trials are too few to fit to, so the scales are the priors' medians:
    # signal 2, noise 0.1. At 1.5 (one length) Matern 5/2 is (1 + sqrt 5 + 5/3) exp(-sqrt 5) = 0.5240
    features, values = np.array([[0.0], [1.5]]), np.array([1.0, 3.0])
    mean, std = Belief(features, values).given(features, values).predict(np.array([[0.0]]))
    near, far = 2.1, 2 * (1 + np.sqrt(5) + 5 / 3) * np.exp(-np.sqrt(5))
    # by symmetry the weights solve (near - far) w = 1 for (-w, w)
    assert mean[0] == pytest.approx(2 - (2 - far) / (near - far), rel=1e-6)
    covariance = np.array([[near, far], [far, near]])
    towards = np.array([2.0, far])
    assert std[0] ** 2 == pytest.approx(2.1 - towards @ np.linalg.solve(covariance, towards), rel=1e-5)


def test_far_from_all_trials_it_knows_nothing():
    features, values = np.zeros((4, 1)), np.array([1.0, 2.0, 1.0, 2.0])
    mean, std = Belief(features, values).given(features, values).predict(np.array([[1e3]]))
    assert mean[0] == pytest.approx(1.5)
    assert std[0] > values.std()


def test_it_finds_the_feature_that_matters_and_the_noise():
    random = np.random.default_rng(0)
    features = random.uniform(size=(40, 4))
    values = 4 * features[:, 1] + 0.1 * random.standard_normal(40)
    belief = Belief(features, values).given(features, values)
    fresh = random.uniform(size=(200, 4))
    mean, std = belief.predict(fresh)
    off = (4 * fresh[:, 1] + 0.1 * random.standard_normal(200) - mean) / std
    assert np.corrcoef(mean, fresh[:, 1])[0, 1] > 0.98
    assert 0.6 < off.std() < 1.4, "its own spread says how far off it is"


def test_noise_alone_is_not_taken_for_signal():
    random = np.random.default_rng(1)
    features, values = random.uniform(size=(12, 9)), random.standard_normal(12)
    mean, std = Belief(features, values).given(features, values).predict(random.uniform(size=(100, 9)))
    off = (random.standard_normal(100) - mean) / std
    assert off.std() < 2, "the likelihood alone is sure of itself here, and far off"


def test_equal_values_are_no_error():
    features, values = np.arange(5.0)[:, None], np.full(5, 0.7)
    mean, std = Belief(features, values).given(features, values).predict(features)
    assert mean == pytest.approx(0.7)
    assert (std > 0).all()
