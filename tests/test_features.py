"""Parameters as columns."""

import numpy as np
import pytest

from kdsearch import ConvNet, Pretrain, Recipe
from kdsearch.features import Features, logit_of
from kdsearch.space import draw, run_space


def space(trial) -> Recipe:
    width = trial.suggest_int("width", 2, 8, log=True)
    student = ConvNet(width=width, depth=trial.suggest_categorical("depth", [6, 1, 2]))
    start = None
    if trial.suggest_categorical("start", ["none", "pretrain"]) == "pretrain":
        start = Pretrain(epochs=trial.suggest_int("pretrain_epochs", 1, 5))
    if width > 4:
        trial.suggest_float("wide_only", 0, 2)
    trial.suggest_int("single", 3, 3)
    return Recipe(student=student, start=start, epochs=10)


BASE = {"width": 4, "depth": 2, "start": "none", "single": 3}


@pytest.fixture(scope="module")
def features():
    return Features(space)


def test_columns_by_hand(features):
    # width 4 is in the middle of 2 to 8 on the log scale; depths in order are 1, 2, 6; nothing conditional is there
    row = features(BASE)
    assert sorted(np.round(row, 6)) == sorted([0.5, 0.5, 0.7, 0.0, 0.25, 0.25, 0.0])


def test_a_condition_shows_by_its_choice_or_by_a_column_of_its_own(features):
    base = features(BASE)
    pretrained = features(BASE | {"start": "pretrain", "pretrain_epochs": 3})
    assert np.count_nonzero(pretrained != base) == 2, (
        "the two choices; 3 of 1 to 5 is the middle, as if it were not there"
    )
    wide = features(BASE | {"wide_only": 1.0})
    assert np.count_nonzero(wide != base) == 1


def test_all_that_the_space_gives_has_one_length(features):
    rows = [features(run_space(space, draw(seed))[1].params) for seed in range(40)]
    assert len({len(row) for row in rows}) == 1
    assert all(((row >= 0) & (row <= 1)).all() for row in rows)


def test_perfect_and_hopeless_accuracies_are_finite():
    assert logit_of(0.5) == 0
    assert logit_of(1.0) == -logit_of(0.0) == pytest.approx(np.log(1.002 / 0.002))
