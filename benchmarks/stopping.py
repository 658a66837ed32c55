"""Does early stopping find more in the same number of epochs? Tabulated trials under the real rules and samplers.

Searches that differ only in the rule, and see the same seeds: no stopping, halving by accuracy alone (what a scheduler
for one objective would do), MO-ASHA with two sets of rungs, and the optimistic bound. Each figure is a hypervolume, or
its paired difference to no stopping with a 95 % interval over seeds. A rule is recommended only where it is ahead at
every budget, the interval's lower bound above 0. The rules have their defaults, which no tuning has chosen yet: tune on
seeds from 1000 on, for those from 0 on are reported.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Figure, finish, interval, options, say
from benchmarks.digits_space import EPOCHS
from benchmarks.simulation import Simulation, hypervolume
from benchmarks.tabulated import Tabulated
from kdsearch.stopping import MOASHA, Bound, Mark, Rule

BUDGETS = (10 * EPOCHS, 20 * EPOCHS, 40 * EPOCHS, 80 * EPOCHS)
SAMPLERS = ("random", "tpe", "size_aware")


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Asynchronous successive halving by accuracy alone: what MO-ASHA is without the second objective."""

    rungs: tuple[float, ...] = (1 / 9, 1 / 3, 1.0)
    reduction: float = 3.0

    def promotable(self, marks: Sequence[Mark]) -> list[int]:
        chosen: list[int] = []
        for rung in reversed(range(len(self.rungs) - 1)):
            reached = [mark for mark in marks if len(mark.accuracies) > rung]
            best = sorted(reached, key=lambda mark: (-mark.accuracies[rung], mark.trial))
            first = best[: int(len(reached) / self.reduction)]
            chosen += [mark.trial for mark in first if mark.waiting and len(mark.accuracies) == rung + 1]
        return chosen


RULES: dict[str, Rule | None] = {
    "none": None,
    "accuracy alone, 1/9 1/3 1": Halving(),
    "MO-ASHA, 1/9 1/3 1": MOASHA(rungs=(1 / 9, 1 / 3, 1.0)),
    "MO-ASHA, 1/3 1": MOASHA(),
    "bound, 1/3 1": Bound(),
}
CANDIDATES = ("MO-ASHA, 1/9 1/3 1", "MO-ASHA, 1/3 1", "bound, 1/3 1")


def search(sampler: str, rule: str, seed: int) -> list[float]:
    """The hypervolume that one search has after each budget."""
    finished = Simulation(Tabulated.load(), sampler, RULES[rule], seed, max(BUDGETS)).run()
    return [hypervolume(finished, epochs) for epochs in BUDGETS]


def figures_of(sampler: str, found: dict[str, NDArray[np.float64]]) -> list[Figure]:
    """The figures of one sampler from hypervolumes (seeds, budgets) by rule."""
    figures = []
    wins: dict[str, int] = dict.fromkeys(CANDIDATES, 0)
    for column, epochs in enumerate(BUDGETS):
        lows = {}
        for rule, volumes in found.items():
            mean, low, high = interval(volumes[:, column].tolist())
            figures.append(Figure(name=f"{sampler}, {epochs} epochs, {rule} [{low:.4f}, {high:.4f}]", value=mean))
            if rule != "none":
                gain, low, high = interval((volumes - found["none"])[:, column].tolist())
                name = f"{sampler}, {epochs} epochs, {rule}: ahead of none by [{low:+.4f}, {high:+.4f}]"
                figures.append(Figure(name=name, value=gain))
                lows[rule] = low
        for rule in CANDIDATES:
            wins[rule] += lows[rule] > 0
    best = max(CANDIDATES, key=lambda rule: wins[rule])
    name = f"{sampler}: budgets of {len(BUDGETS)} at which {best} is surely ahead of none"
    every = wins[best] == len(BUDGETS)
    return [*figures, Figure(name=name, value=wins[best], target=f">= {len(BUDGETS)}", holds=every)]


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, help="searches of each kind (50; 5 with --quick)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--samplers", nargs="+", default=["tpe", "size_aware"], choices=SAMPLERS)
    arguments = parser.parse_args()
    seeds = arguments.seeds or (5 if arguments.quick else 50)
    figures: list[Figure] = []
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for sampler in arguments.samplers:
            found = {}
            for rule in RULES:
                volumes = np.array(list(pool.map(partial(search, sampler, rule), range(seeds))))
                found[rule] = volumes
                gains = [f"{gain:+.4f}" for gain in (volumes - found["none"]).mean(axis=0)]
                say(f"{sampler}, {rule}: {volumes.mean(axis=0).round(4).tolist()}, to none {' '.join(gains)}")
            figures += figures_of(sampler, found)
    return finish(figures, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
