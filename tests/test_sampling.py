"""Proposals: one suite for every sampler, then what is each one's own."""

import dataclasses

import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState, create_trial

from kdsearch import ConvNet, Distil, Hints, Pretrain, Recipe, Study, metrics
from kdsearch.mistakes import Mistake
from kdsearch.sampling import BrokenProposalError, ExhaustedError, Proposals
from kdsearch.screening import Screen
from kdsearch.space import replay
from kdsearch.students import on_meta

optuna.logging.set_verbosity(optuna.logging.WARNING)
SHAPE, CLASSES = (1, 8, 8), 3
SAMPLERS = ["size_aware", "tpe", "nsga2", "random", "object"]


def space(trial) -> Recipe:
    student = ConvNet(width=trial.suggest_int("width", 2, 12, log=True), depth=trial.suggest_int("depth", 1, 4))
    match trial.suggest_categorical("start", ["none", "hints", "pretrain"]):
        case "hints":
            layer = trial.suggest_categorical("layer", [0.25, 0.75])
            start = Hints(epochs=2, teacher_layer=layer, student_layer=0.5)  # above the teacher's map: screened
        case "pretrain":
            start = Pretrain(epochs=2)
        case _:
            start = None
    distil = Distil(
        temperature=trial.suggest_float("temperature", 1, 20, log=True), alpha=trial.suggest_float("alpha", 0, 1)
    )
    return Recipe(student=student, start=start, distil=distil, epochs=5)


def made(sampler="size_aware", **changes) -> Study:
    chosen = RandomSampler(seed=0) if sampler == "object" else sampler
    return Study(
        **{"name": "made", "data": lambda: None, "teacher": lambda data: None, "space": space, "sampler": chosen}
        | changes
    )


def figures(recipe: Recipe, objectives) -> list[float]:
    """A made-up world: accuracy grows with size, and is best at alpha 0.7."""
    parameters = metrics.parameters(on_meta(recipe.student, SHAPE, CLASSES))
    accuracy = 1 - 4 * parameters**-0.5 - 2 * (recipe.distil.alpha - 0.7) ** 2
    known = {"parameters": parameters, "macs": 50 * parameters, "size_kb": parameters / 250}
    measured = {"accuracy": max(0.0, accuracy), "macro_f1": max(0.0, accuracy) ** 2, "latency_ms": parameters / 1e4}
    return [(known | measured)[name] for name in objectives]


class World:
    """A search without training: its database is `trials`."""

    def __init__(self, study: Study, teachers, past=()) -> None:
        self.study = study
        self.trials = list(past)
        reference = {"accuracy": 1 / 3, "parameters": 20_000}
        self.proposals = Proposals(study, Screen(study, SHAPE, CLASSES, teachers), self.trials, reference)

    def begin(self):
        number = len(self.trials)
        proposal = self.proposals.propose(number)
        self.proposals.accepted(number, proposal.token)
        self.trials.append(
            create_trial(
                state=TrialState.RUNNING,
                params=proposal.params,
                distributions=proposal.distributions,
                system_attrs=proposal.system_attrs,
                user_attrs={"fingerprint": proposal.candidate.recipe.fingerprint(), "known": proposal.known},
            )
        )
        self.trials[-1].number = number
        return proposal

    def end(self, number: int, state=TrialState.COMPLETE, values=None) -> None:
        if state == TrialState.COMPLETE:
            recipe, _ = replay(self.study.space, self.trials[number].params)
            values = figures(recipe, self.study.objectives)
        self.proposals.told(number, state, values)
        self.trials[number].state = state
        self.trials[number].values = values

    def run(self, trials: int) -> "World":
        for _ in range(trials):
            proposal = self.begin()
            screened = proposal.candidate.reason is not None
            self.end(len(self.trials) - 1, TrialState.PRUNED if screened else TrialState.COMPLETE)
        return self

    @property
    def params(self):
        return [trial.params for trial in self.trials]


@pytest.fixture
def world(frozen):
    return lambda sampler="size_aware", past=(), **changes: World(made(sampler, **changes), frozen.members, past)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_proposes_new_recipes_of_the_space_after_the_strong_default(world, sampler):
    ran = world(sampler).run(9)
    assert {name: ran.params[0][name] for name in ("start", "temperature", "alpha")} == {
        "start": "none",
        "temperature": 4.0,
        "alpha": 0.9,
    }
    for trial in ran.trials:
        recipe, recorded = replay(space, trial.params)  # raises where a condition does not hold
        assert recorded.distributions == trial.distributions
        assert trial.user_attrs["known"]["parameters"] == metrics.parameters(on_meta(recipe.student, SHAPE, CLASSES))
    assert len({trial.user_attrs["fingerprint"] for trial in ran.trials}) == 9


@pytest.mark.parametrize(
    "sampler", [name for name in SAMPLERS if name != "object"]
)  # a sampler object keeps its own state
def test_every_sampler_by_name_goes_on_as_if_undisturbed(world, sampler):
    whole = world(sampler).run(10)
    half = world(sampler).run(7)
    assert world(sampler, past=half.trials).run(3).params == whole.params
    assert world(sampler, seed=1).run(2).params != whole.params[:2]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_copes_with_trials_that_run_wait_stop_and_fail(world, sampler):
    ran = world(sampler, first=[])
    for _ in range(12):
        ran.begin()
    for number in range(9):
        ran.proposals.standing(number, [0.3 + number / 20, 1000.0])
    ran.proposals.standing(0, [0.5, 1000.0])
    ran.end(0)
    ran.end(1, TrialState.PRUNED, [0.4, 1000.0])
    ran.proposals.told(2, TrialState.PRUNED)
    ran.end(3, TrialState.FAIL)
    ran.end(9, TrialState.FAIL)
    ran.end(10)
    assert ran.begin().params not in ran.params[:-1]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_says_when_the_space_is_exhausted(world, sampler):
    def few(trial) -> Recipe:
        return Recipe(student=ConvNet(width=trial.suggest_int("width", 2, 9), depth=1))

    ran = world(sampler, space=few).run(8)
    assert sorted(params["width"] for params in ran.params) == list(range(2, 10))
    with pytest.raises(ExhaustedError, match="the space holds no more than it has given"):
        ran.begin()


@pytest.mark.parametrize(
    "objectives",
    [
        ("accuracy",),
        ("accuracy", "macs", "size_kb"),
        ("accuracy", "parameters", "latency_ms"),
        ("macro_f1", "accuracy", "parameters"),
        ("parameters", "latency_ms"),
        ("parameters",),
    ],
)
def test_any_objectives_can_be_searched(world, objectives):
    ran = world(objectives=objectives).run(7)
    assert len({trial.user_attrs["fingerprint"] for trial in ran.trials}) == 7


def test_what_cannot_work_is_never_proposed(world):
    ran = world(max_parameters=3000).run(10)
    assert all(trial.state == TrialState.COMPLETE for trial in ran.trials)
    assert all(trial.user_attrs["known"]["parameters"] <= 3000 for trial in ran.trials)


def test_the_first_trials_are_spread_over_the_sizes(world):
    sizes = np.log10([trial.user_attrs["known"]["parameters"] for trial in world().run(3).trials])
    smallest, largest = (
        np.log10(metrics.parameters(on_meta(ConvNet(width=width, depth=depth), SHAPE, CLASSES)))
        for width, depth in ((2, 1), (12, 4))
    )
    middle, small, between = (sizes - smallest) / (largest - smallest)
    assert small < 0.1
    assert 0.1 < between < 0.4, "a quarter of the way"
    assert 0.3 < middle < 0.7, "the strong default, of a size near the middle"


def test_it_learns_what_the_accuracy_depends_on(world):
    ran = world(first=[]).run(30)
    alphas = [params["alpha"] for params in ran.params[20:]]
    assert np.median(np.abs(np.array(alphas) - 0.7)) < 0.15


def test_trials_under_way_are_not_proposed_around_again(world):
    ran = world().run(8)
    together = [ran.begin() for _ in range(5)]
    assert len({proposal.proposed for proposal in together}) == 5
    assert len({proposal.candidate.parameters for proposal in together}) >= 3, (
        "a running trial takes the gain at its size"
    )


def test_long_histories_are_used_in_part_and_said_so_once(world):
    past = []
    for number in range(330):
        params = {"width": 2 + number % 11, "depth": 1 + number % 4, "start": "none"}
        params |= {"temperature": 1 + number % 19, "alpha": number / 330}
        recipe, recorded = replay(space, params)
        values = figures(recipe, ("accuracy", "parameters"))
        attrs = {"fingerprint": recipe.fingerprint(), "known": {"parameters": values[1]}}
        past.append(create_trial(params=params, distributions=recorded.distributions, values=values, user_attrs=attrs))
        past[-1].number = number
    ran = world(past=past).run(3)
    assert [note for note in ran.proposals.notes if "from 300 trials on" in note] == ran.proposals.notes
    assert len(ran.proposals.notes) == 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moody:
    width: int

    def build(self, in_shape, classes):
        if self.width % 2:
            raise IndexError("an odd mood")
        return ConvNet(width=self.width, depth=1).build(in_shape, classes)


def test_students_that_cannot_be_built_are_left_out_until_nothing_else_is_left(world):
    def moody(trial) -> Recipe:
        return Recipe(student=Moody(width=trial.suggest_int("width", 1, 8)))

    ran = world(space=moody)
    for _ in range(4):
        ran.begin()
    assert sorted(params["width"] for params in ran.params) == [2, 4, 6, 8]
    assert len(ran.proposals.notes) == 1
    assert "the space is wrong on" in ran.proposals.notes[0] and "an odd mood" in ran.proposals.notes[0]
    with pytest.raises(BrokenProposalError, match="an odd mood") as found:
        ran.proposals.propose(4)
    assert isinstance(found.value.error, Mistake)
    assert found.value.params["width"] % 2
