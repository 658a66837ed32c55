"""The simulations that benchmarks rest on: equal epochs, a clock that skips only waiting."""

import pytest

from benchmarks.simulation import Finished, Simulation, hypervolume, reference
from benchmarks.tabulated import Curve
from benchmarks.virtual import Clock, Virtual, pretend
from kdsearch import Distil, Pretrain, Recipe
from kdsearch.stopping import MOASHA, Bound
from kdsearch.students import MLP
from kdsearch.trial import Seeds, Segment


class Table:
    """Trials whose accuracy rises in a straight line to alpha; 27 epochs of a second each, none for the start."""

    def trial(self, params, seed) -> Curve:
        accuracies = tuple(params["alpha"] * (epoch + 1) / 27 for epoch in range(27))
        return Curve(
            parameters=100 * params["width"],
            accuracies=accuracies,
            final=accuracies[-1],
            epochs=27,
            start_epochs=0,
            seconds=(1.0,) * 27,
        )


@pytest.mark.parametrize("rule", [None, MOASHA(), MOASHA(rungs=(1 / 9, 1 / 3, 1.0)), Bound()])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_simulated_search_spends_its_epochs_and_no_more(rule, workers):
    simulation = Simulation(Table(), "random", rule, seed=0, epochs=270, workers=workers)
    finished = simulation.run()
    assert all(one.spent <= 270 for one in finished)
    assert [one.spent for one in finished] == sorted({one.spent for one in finished}) or workers > 1
    if rule is None:
        assert len(finished) == simulation.began == 10
    else:
        assert len(finished) < 10 < simulation.began


def test_the_same_seed_gives_the_same_search():
    runs = [Simulation(Table(), "tpe", MOASHA(), seed=3, epochs=270).run() for _ in range(2)]
    assert runs[0] == runs[1]


def test_the_hypervolume_counts_what_the_budget_covers():
    finished = [Finished(27, int(reference()["parameters"]) // 10, 0.6), Finished(54, 100, 0.9)]
    assert hypervolume([], 100) == 0
    assert hypervolume(finished, 27) == pytest.approx(0.5 * 1.0, abs=1e-3)
    assert hypervolume(finished, 54) > hypervolume(finished, 53)


def segment(trial: int, epochs: int = 3) -> Segment:
    recipe = Recipe(student=MLP(width=4, depth=1), start=Pretrain(epochs=1), distil=Distil(), epochs=3)
    seeds = Seeds(start=0, distil=0)
    return Segment(trial=trial, recipe=recipe, seeds=seeds, state=None, upto=epochs, objectives=("accuracy",))


def test_virtual_workers_end_in_the_order_of_their_ends_and_waiting_takes_no_time():
    clock = Clock()
    executor = Virtual(clock, 2, lambda segment: 1e6 * (2 - segment.trial))
    late, soon = executor.submit(segment(0)), executor.submit(segment(1))
    assert executor.wait({late, soon}, 0.2) == {soon}
    assert 1e6 <= clock() < 2e6 and clock.worked < 1e3
    assert executor.wait({late}, 0.2) == {late}
    assert clock() >= 2e6 and executor.busy_seconds == 3e6
    assert [event.trial for event in executor.events()] == [1, 1, 1, 0, 0, 0]
    assert executor.events() == []


def test_pretended_progress_is_what_a_driver_takes_in():
    whole = pretend(segment(5))
    assert [(line["stage"], line["epoch"]) for line in whole.curve] == [("pretrain", 1), ("distil", 1), ("distil", 2)]
    assert whole.state.epoch == 3 and set(whole.measured) == {"accuracy"}
    assert pretend(segment(5, epochs=1)).measured is None
