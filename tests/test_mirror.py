"""Optuna's study in memory: what samplers see of trials that wait, stop, change and are long past."""

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from kdsearch import ConvNet, Recipe, Study
from kdsearch.history import Tried
from kdsearch.mirror import Mirror

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Watching(RandomSampler):
    """A sampler that remembers what it was shown."""

    def before_trial(self, study, trial):
        self.shown = [(shown.state, shown.values) for shown in study.get_trials(deepcopy=False)[:-1]]


def tried(number: int, state=TrialState.COMPLETE, values=(0.5, 100.0)) -> Tried:
    return Tried(
        number=number,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0, 1)},
        state=state,
        known={"parameters": 100},
        values=values,
    )


@pytest.fixture
def watching():
    return Watching(seed=0)


def mirror(sampler, past):
    study = Study(
        name="made",
        data=lambda: None,
        teacher=lambda data: None,
        space=lambda trial: Recipe(student=ConvNet(width=2, depth=1)),
        sampler=sampler,
    )
    notes = []
    made = Mirror(study, past, notes.append)
    made.notes = notes
    return made


def test_a_waiting_trial_is_shown_with_its_results_so_far_however_often_they_change(watching):
    history = {number: tried(number, TrialState.RUNNING, None) for number in range(3)}
    made = mirror(watching, list(history.values()))

    def tell(trial):
        history[trial.number] = trial
        made.told(trial)
        made.refuse(made.ask(3, 1, list(history.values()), None))
        return watching.shown[:3]

    running = (TrialState.RUNNING, None)
    assert tell(tried(0, TrialState.RUNNING, (0.3, 100.0))) == [(TrialState.COMPLETE, [0.3, 100.0]), running, running]
    assert tell(tried(0, TrialState.RUNNING, (0.4, 100.0)))[0] == (TrialState.COMPLETE, [0.4, 100.0])
    assert tell(tried(0, TrialState.PRUNED, (0.4, 100.0)))[0] == (TrialState.COMPLETE, [0.4, 100.0])
    assert tell(tried(1, TrialState.RUNNING, (0.2, 100.0)))[1] == (TrialState.COMPLETE, [0.2, 100.0])
    assert tell(tried(1, TrialState.FAIL, None))[1] == (TrialState.FAIL, None)
    assert tell(tried(2))[2] == (TrialState.COMPLETE, [0.5, 100.0])


def test_a_long_history_is_shown_in_part(watching):
    # trial 7 alone stands on the front; from 2,000 trials on the first thousand is otherwise left out
    past = [tried(number, values=(0.9 if number == 7 else 0.5, 100.0)) for number in range(2000)]
    made = mirror(watching, past)
    made.ask(2000, 1, past, None)
    assert len(watching.shown) == 1001
    assert watching.shown[0] == (TrialState.COMPLETE, [0.9, 100.0])
    assert made.notes == ["from 2000 trials on the sampler learns from the front and the latest 1000 or more"]
    made.told(tried(3))  # cut off: nobody is to know


def test_a_history_of_less_is_shown_whole(watching):
    past = [tried(number) for number in range(1999)]
    made = mirror(watching, past)
    made.ask(1999, 1, past, None)
    assert len(watching.shown) == 1999
    assert not made.notes
