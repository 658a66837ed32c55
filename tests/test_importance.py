"""Importances on trials whose accuracy is known to follow one parameter."""

import math
import random

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution

from kdsearch.importance import importances
from kdsearch.records import TrialRecord


def made(count, accuracy):
    """Trials of a space with a conditional parameter; `accuracy` of (parameters, alpha, temperature)."""
    drawn = random.Random(0)
    records, frozen = [], []
    for number in range(count):
        start = drawn.choice(["none", "hints"])
        params = {"alpha": drawn.random(), "temperature": drawn.random(), "start": start}
        kinds = {"alpha": FloatDistribution(0, 1), "temperature": FloatDistribution(0, 1)}
        kinds["start"] = CategoricalDistribution(["none", "hints"])
        if start == "hints":
            params["layer"], kinds["layer"] = drawn.random(), FloatDistribution(0, 1)
        size = 10 ** drawn.uniform(2, 5)
        value = accuracy(size, params["alpha"], params["temperature"])
        record = TrialRecord(
            number=number, state="complete", params=params, recipe={}, described={}, fingerprint="", seeds={},
            known={"parameters": size}, measured={"accuracy": value},
        )  # fmt: skip
        records.append(record)
        frozen.append(optuna.trial.create_trial(params=params, distributions=kinds, value=value))
        frozen[-1].number = number
    return records, frozen


def sigmoid(logit):
    return 1 / (1 + math.exp(-logit))


def test_what_mattered_at_a_given_size_comes_first_however_much_size_mattered():
    records, frozen = made(80, lambda size, alpha, temperature: sigmoid(math.log10(size) - 1 + 0.3 * alpha))
    found = importances(records, frozen)
    assert found[0].parameter == "alpha"
    assert found[0].share > 0.8
    assert {one.parameter for one in found} == {"alpha", "temperature", "start", "layer"}
    assert all(0 <= one.share <= 1 for one in found)
    assert found[0].explained > 0.5


def test_noise_is_foretold_by_nothing():
    noise = random.Random(1)
    records, frozen = made(60, lambda size, alpha, temperature: sigmoid(noise.gauss(0, 1)))
    assert max(one.explained for one in importances(records, frozen)) < 0.2


def test_a_conditional_parameter_is_judged_among_the_trials_that_have_it():
    records, frozen = made(60, lambda size, alpha, temperature: sigmoid(alpha))
    having = sum("layer" in record.params for record in records)
    (layer,) = [one for one in importances(records, frozen) if one.parameter == "layer"]
    assert layer.trials == having < 60


def test_few_trials_or_no_spread_say_nothing():
    records, frozen = made(9, lambda size, alpha, temperature: sigmoid(alpha))
    assert importances(records, frozen) == []
    assert importances([], []) == []
    records, frozen = made(40, lambda size, alpha, temperature: 1.0)
    assert importances(records, frozen) == []
