"""Search spaces: recorded, replayed and drawn from, more strictly than Optuna does."""

import statistics
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from kdsearch.mistakes import Mistake, UserCodeError
from kdsearch.recipe import Recipe
from kdsearch.space import RecordingTrial, draw, from_unit, merge_distributions, mutated, replay, run_space, to_unit
from kdsearch.stages import Distil, Pretrain
from kdsearch.students import ConvNet


def space(trial) -> Recipe:
    student = ConvNet(width=trial.suggest_int("width", 2, 16, log=True), depth=trial.suggest_int("depth", 2, 6, step=2))
    match trial.suggest_categorical("start", ["none", "pretrain"]):
        case "pretrain":
            start = Pretrain(epochs=trial.suggest_int("pretrain_epochs", 1, 5))
        case _:
            start = None
    distil = Distil(
        temperature=trial.suggest_float("temperature", 1, 20, log=True), alpha=trial.suggest_float("alpha", 0, 1)
    )
    return Recipe(student=student, start=start, distil=distil, epochs=10)


PARAMS = {"width": 3, "depth": 4, "start": "pretrain", "pretrain_epochs": 2, "temperature": 5.0, "alpha": 0.25}


def always(value):
    return RecordingTrial(lambda name, distribution: value)


def test_a_stored_trial_is_replayed_by_the_space_itself():
    recipe, _ = replay(space, PARAMS)
    assert recipe == Recipe(
        student=ConvNet(width=3, depth=4),
        start=Pretrain(epochs=2),
        distil=Distil(temperature=5.0, alpha=0.25),
        epochs=10,
    )


@given(st.integers(0, 10_000))
def test_what_was_recorded_replays_to_the_same_recipe(seed):
    recipe, trial = run_space(space, draw(seed))
    assert replay(space, trial.params)[0] == recipe
    assert set(trial.distributions) == set(trial.params)
    assert ("pretrain_epochs" in trial.params) == (trial.params["start"] == "pretrain")


def test_recorded_distributions_are_optunas():
    _, trial = run_space(space, lambda name, distribution: PARAMS[name])
    assert trial.params == PARAMS
    assert trial.distributions == {
        "width": IntDistribution(2, 16, log=True),
        "depth": IntDistribution(2, 6, step=2),
        "start": CategoricalDistribution(["none", "pretrain"]),
        "pretrain_epochs": IntDistribution(1, 5),
        "temperature": FloatDistribution(1, 20, log=True),
        "alpha": FloatDistribution(0, 1),
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": 17}, "width=17 is outside of IntDistribution.*; widen the space or change the value"),
        ({"width": 1}, "width=1 is outside of"),
        ({"width": 2.5}, "width=2.5 is outside of"),
        ({"width": True}, "width=True is outside of"),
        ({"width": "3"}, "width='3' is outside of"),
        ({"width": None}, "width=None is outside of"),
        ({"depth": 3}, "depth=3 is outside of IntDistribution.*step=2"),
        ({"alpha": 1.01}, "alpha=1.01 is outside of FloatDistribution"),
        ({"start": "hint"}, "start='hint' is outside of CategoricalDistribution.*none.*pretrain"),
    ],
)
def test_a_value_out_of_range_is_refused(change, said):
    with pytest.raises(Mistake, match=said):
        replay(space, PARAMS | change)


def test_a_missing_parameter_is_named():
    with pytest.raises(Mistake, match=r"the space suggests 'alpha', which the parameters .* do not have"):
        replay(space, {name: value for name, value in PARAMS.items() if name != "alpha"})


def test_superfluous_parameters_are_named_also_where_a_branch_is_not_taken():
    with pytest.raises(Mistake, match="the space never suggests momentum, tau with"):
        replay(space, PARAMS | {"tau": 1, "momentum": 2})
    with pytest.raises(Mistake, match="the space never suggests pretrain_epochs with"):
        replay(space, PARAMS | {"start": "none"})


def test_one_name_with_two_distributions_is_refused():
    trial = always(3)
    trial.suggest_int("width", 2, 8)
    with pytest.raises(
        Mistake, match=r"'width' is used with two distributions, .*high=8.*high=9.*; give each its own name"
    ):
        trial.suggest_int("width", 2, 9)


def test_a_name_asked_for_again_gives_the_same_value():
    values = iter([3, 5])
    trial = RecordingTrial(lambda name, distribution: next(values))
    assert trial.suggest_int("width", 2, 8) == trial.suggest_int("width", 2, 8) == 3


def test_distributions_that_depend_on_other_values_are_found_between_trials():
    known = {}
    merge_distributions(known, {"width": IntDistribution(2, 8)})
    merge_distributions(known, {"width": IntDistribution(2, 8), "alpha": FloatDistribution(0, 1)})
    assert set(known) == {"width", "alpha"}
    with pytest.raises(Mistake, match="one range that does not depend on other values"):
        merge_distributions(known, {"width": IntDistribution(2, 9)})


@pytest.mark.parametrize("choice", [(1, 2), [1], ConvNet(width=2, depth=2), ConvNet, {}])
def test_choices_that_are_no_scalars_are_refused(choice):
    with pytest.raises(
        Mistake, match=r"the choices of 'what' must be strings, .* got \w+; suggest a name and match it"
    ):
        always("a").suggest_categorical("what", ["a", choice])


def test_choices_may_be_any_scalar():
    for value in ("a", 1, 0.5, True, None):
        assert always(value).suggest_categorical("what", ["a", 1, 0.5, True, None]) == value


@pytest.mark.parametrize(
    "ask",
    [
        lambda trial: trial.suggest_int("width", 8, 2),
        lambda trial: trial.suggest_float("width", 0, 1, log=True),
        lambda trial: trial.suggest_float("width", 1, 2, step=-1),
        lambda trial: trial.suggest_categorical("width", []),
    ],
)
def test_an_impossible_range_names_the_parameter(ask):
    with pytest.raises(Mistake, match="the range of parameter 'width': "):
        ask(always(1))


def test_values_come_as_the_type_that_was_asked_for():
    assert isinstance(always(4.0).suggest_int("width", 2, 8), int)
    assert isinstance(always(1).suggest_float("alpha", 0, 1), float)


def test_errors_in_the_space_say_where():
    with pytest.raises(UserCodeError, match=r"space\(\) raised ZeroDivisionError: .*\(test_space.py, line \d+"):
        run_space(lambda trial: 1 / 0, draw(0))
    with pytest.raises(Mistake, match=r"space\(\) must return a kdsearch.Recipe, got ConvNet"):
        run_space(lambda trial: ConvNet(width=2, depth=2), draw(0))
    with pytest.raises(Mistake, match=r"^temperature must be above 0, got -1"):
        run_space(lambda trial: Recipe(student=ConvNet(width=2, depth=2), distil=Distil(temperature=-1)), draw(0))


seeds = st.integers(0, 2**62)


@given(seeds, st.integers(-50, 50), st.integers(0, 100), st.integers(1, 9))
def test_whole_numbers_are_drawn_within_their_range(seed, low, width, step):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna lowers a range that its step does not divide, and says so
        value = RecordingTrial(draw(seed)).suggest_int("n", low, low + width, step=step)
    assert low <= value <= low + width
    assert (value - low) % step == 0


@given(seeds, st.integers(1, 1000), st.integers(0, 10**6))
def test_whole_numbers_are_drawn_within_their_range_on_the_log_scale(seed, low, width):
    assert low <= RecordingTrial(draw(seed)).suggest_int("n", low, low + width, log=True) <= low + width


@given(seeds, st.floats(-1e3, 1e3), st.floats(0, 1e6), st.one_of(st.none(), st.floats(1e-3, 10)))
def test_numbers_are_drawn_within_their_range(seed, low, width, step):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = RecordingTrial(draw(seed)).suggest_float("x", low, low + width, step=step)
    assert low <= value <= low + width


@given(seeds, st.floats(1e-6, 1e3), st.floats(1, 1e6))
def test_numbers_are_drawn_within_their_range_on_the_log_scale(seed, low, factor):
    assert low <= RecordingTrial(draw(seed)).suggest_float("x", low, low * factor, log=True) <= low * factor


def test_draws_are_reproducible_and_differ_between_seeds():
    drawn = [run_space(space, draw(seed))[1].params for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_draws_on_the_log_scale_are_even_in_the_logarithm():
    choose = draw(0)
    values = [choose("x", FloatDistribution(1, 10_000, log=True)) for _ in range(2000)]
    assert sum(value < 100 for value in values) / 2000 == pytest.approx(0.5, abs=0.05)


def test_draws_reach_every_value():
    choose = draw(0)
    assert {choose("n", IntDistribution(1, 4, log=True)) for _ in range(200)} == {1, 2, 3, 4}
    assert {choose("n", IntDistribution(0, 6, step=3)) for _ in range(100)} == {0, 3, 6}
    assert {choose("n", CategoricalDistribution(["a", None, 2])) for _ in range(100)} == {"a", None, 2}


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_mutant_differs_in_at_most_two_parameters_and_what_follows_from_them(seed, other):
    _, parent = run_space(space, draw(seed))
    recipe, mutant = run_space(space, mutated(parent.params, other))
    assert replay(space, mutant.params)[0] == recipe
    changed = {
        name for name in parent.params.keys() & mutant.params.keys() if parent.params[name] != mutant.params[name]
    }
    assert len(changed) <= 2
    if "start" not in changed:
        assert parent.params.keys() == mutant.params.keys()


def test_mutants_of_a_number_stay_near_and_do_not_pile_up_at_its_ends():
    values = [run_space(space, mutated(PARAMS, seed))[1].params["alpha"] for seed in range(600)]
    moved = [value for value in values if value != PARAMS["alpha"]]
    assert len(set(moved)) == len(moved)
    assert 0.05 < statistics.median(abs(value - PARAMS["alpha"]) for value in moved) < 0.2


@pytest.mark.parametrize(
    "distribution",
    [
        FloatDistribution(1, 20, log=True),
        FloatDistribution(0, 1),
        IntDistribution(2, 16, log=True),
        IntDistribution(2, 8, step=3),
        FloatDistribution(0, 1, step=0.25),
    ],
)
@given(st.floats(0, 1, exclude_max=True))
def test_every_unit_has_a_value_in_range_and_the_value_of_a_real_number_has_its_unit(distribution, unit):
    value = from_unit(distribution, unit)
    assert distribution._contains(distribution.to_internal_repr(value))
    assert 0 <= to_unit(distribution, value) <= 1
    if isinstance(distribution, FloatDistribution) and distribution.step is None:
        assert to_unit(distribution, value) == pytest.approx(unit, abs=1e-9)
