"""How many trials does a sampler need? Hypervolume after 20, 40, 60 and 100 trials of benchmarks/tabulated.py.

Every sampler is asked through `Proposals`, as a search asks it, so each has the strong default (T=4, alpha=0.9, no
start) for its first trial and none ever repeats a recipe. The hypervolume is a search's own: accuracy above chance
times log10 parameters below the teacher's. 50 seeds (Optuna's GP sampler, which is slow: 10), means with 95 %
intervals. With --quick 8 seeds (2).

Optuna's GP sampler learns from the parameters that all trials have; it draws the hint layers, which not all have, at
random. Times are of one process with one thread, while the others of the benchmark run beside it.

    python -m benchmarks.samplers [--quick] [--json] [--seeds N] [--samplers size_aware tpe ...]
"""

import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context

import numpy as np
import optuna
import torch
from optuna.samplers import BaseSampler, GPSampler
from optuna.trial import TrialState, create_trial
from threadpoolctl import threadpool_limits
from torch import nn

from benchmarks import digits_space
from benchmarks.common import Figure, at_least, at_most, finish, interval, options, say
from benchmarks.tabulated import CLASSES, SHAPE, Tabulated
from kdsearch import ConvNet, Study
from kdsearch.executors.engine import cores
from kdsearch.pareto import hypervolume
from kdsearch.sampling import Proposals
from kdsearch.screening import Screen
from kdsearch.seeds import derive
from kdsearch.space import draw, run_space
from kdsearch.students import count_parameters

AFTER = (20, 40, 60, 100)
SAMPLERS = ("random", "nsga2", "tpe", "gp", "size_aware")
OURS = "size_aware"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One search of one seed: its hypervolume after each trial, the seconds of each proposal."""

    sampler: str
    volumes: tuple[float, ...]
    seconds: tuple[float, ...]


class Bench:
    """The study of digits_space with another sampler and seed, its screen, and its trials from the table."""

    def __init__(self, sampler: str, seed: int, *, default: bool = True) -> None:
        self.reference = {"accuracy": 1 / CLASSES, "parameters": count_parameters(_teacher())}
        self._seed = seed
        self._table = Tabulated.load()
        study = Study(
            name="simulated",
            data=digits_space.data,
            teacher=digits_space.teacher,
            space=digits_space.space,
            sampler=_sampler(sampler, seed),
            seed=seed,
            first=None if default else [],
        )
        self._study = study
        self.proposals = Proposals(study, _screen(), [], self.reference)

    def fill(self, count: int) -> None:
        """Let `count` trials of random recipes have been told, as of an earlier run of the study."""
        past = []
        for number in range(count):
            recipe, recorded = run_space(self._study.space, draw(derive(self._seed, "past", number)))
            curve = self._table.trial(recorded.params, number)
            known = {"parameters": curve.parameters}
            past.append(
                create_trial(
                    params=recorded.params,
                    distributions=recorded.distributions,
                    values=[curve.final, curve.parameters],
                    user_attrs={"known": known, "fingerprint": recipe.fingerprint()},
                )
            )
            past[-1].number = number
        self.proposals = Proposals(self._study, _screen(), past, self.reference)

    def trial(self, number: int) -> tuple[float, int, float]:
        """Propose, train and tell one trial: its accuracy, its parameters, the processor seconds of the proposal."""
        begun = time.process_time()
        proposal = self.proposals.propose(number)
        seconds = time.process_time() - begun
        self.proposals.accepted(number, proposal.token)
        curve = self._table.trial(proposal.params, derive("benchmark", self._seed, proposal.proposed))
        self.proposals.told(number, TrialState.COMPLETE, [curve.final, curve.parameters])
        return curve.final, curve.parameters, seconds


@cache
def _teacher() -> nn.Module:
    return ConvNet(width=48, depth=5).build(SHAPE, CLASSES)


@cache
def _screen() -> Screen:
    """One for all searches of a process: it depends on the study's limits alone."""
    return Screen(digits_space.study(), SHAPE, CLASSES, [_teacher()])


def _sampler(name: str, seed: int) -> str | BaseSampler:
    return GPSampler(seed=seed, warn_independent_sampling=False) if name == "gp" else name


def run(sampler: str, seed: int, trials: int, default: bool = True) -> Run:
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        bench = Bench(sampler, seed, default=default)
        ended = [bench.trial(number) for number in range(trials)]
    points = np.array([[-accuracy, np.log10(parameters)] for accuracy, parameters, _ in ended])
    reference = np.array([-bench.reference["accuracy"], np.log10(bench.reference["parameters"])])
    volumes = tuple(hypervolume(points[: count + 1], reference) for count in range(trials))
    return Run(sampler=sampler, volumes=volumes, seconds=tuple(seconds for _, _, seconds in ended))


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, help="searches of each sampler (50; 8 with --quick)")
    parser.add_argument("--gp-seeds", type=int, help="searches of Optuna's GP sampler (10; 2 with --quick)")
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--processes", type=int, default=cores())
    arguments = parser.parse_args()
    seeds = arguments.seeds or (8 if arguments.quick else 50)
    few = arguments.gp_seeds or (2 if arguments.quick else 10)
    wanted = [(name, seed, True) for name in arguments.samplers for seed in range(few if name == "gp" else seeds)]
    if OURS in arguments.samplers:
        wanted += [(name, seed, False) for name in arguments.samplers if name in ("tpe", OURS) for seed in range(seeds)]
    runs = _together(wanted, arguments.processes)
    figures = _volumes(runs)
    if OURS in arguments.samplers:
        figures += _times(short=200, long=2000)
    return finish(figures, as_json=arguments.json)


def _together(wanted: Sequence[tuple[str, int, bool]], processes: int) -> dict[tuple[str, bool], list[Run]]:
    """The runs by sampler and whether the strong default came first; the slow ones are begun first."""
    ordered = sorted(wanted, key=lambda one: SAMPLERS.index(one[0]), reverse=True)
    ordered.sort(key=lambda one: one[0] != "gp")
    runs: dict[tuple[str, bool], list[Run]] = {}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run, name, seed, AFTER[-1], first): (name, first) for name, seed, first in ordered}
        for done, future in enumerate(as_completed(futures), start=1):
            runs.setdefault(futures[future], []).append(future.result())
            if done % 20 == 0:
                say(f"{done} of {len(futures)} searches")
    return runs


def _volumes(runs: dict[tuple[str, bool], list[Run]]) -> list[Figure]:
    means: dict[tuple[str, bool, int], float] = {}
    figures = []
    for sampler, first in sorted(runs, key=lambda key: (not key[1], SAMPLERS.index(key[0]))):
        for after in AFTER:
            mean, low, high = interval([one.volumes[after - 1] for one in runs[sampler, first]])
            means[sampler, first, after] = mean
            what = f"{sampler}{'' if first else ', no strong default'}: hypervolume after {after}"
            spread = f"[{low:.3f}, {high:.3f}], {len(runs[sampler, first])} seeds"
            figures.append(Figure(name=f"{what} {spread}", value=mean))
        times = [1000 * second for one in runs[sampler, first] for second in one.seconds]
        if first:
            figures.append(Figure(name=f"{sampler}: milliseconds a proposal, mean", value=statistics.mean(times)))
    for ours, theirs in ((20, 40), (40, 100)):
        if (OURS, True, ours) in means and ("tpe", True, theirs) in means:
            name = f"{OURS} after {ours}, against tpe's after {theirs}"
            figures.append(at_least(name, means[OURS, True, ours], round(means["tpe", True, theirs], 4)))
    return figures


def _times(**trials: int) -> list[Figure]:
    """Milliseconds of our proposals when so many trials are told: of random recipes, so that it is soon done."""
    targets = {"short": 100.0, "long": 1000.0}
    figures = []
    for name, count in trials.items():
        bench = Bench(OURS, 0)
        bench.fill(count)
        bench.trial(count)  # torch loads what counts macs at its first use
        with threadpool_limits(1):
            seconds = [bench.trial(number)[2] for number in range(count + 1, count + 13)]
        milliseconds = 1000 * statistics.median(seconds)
        figures.append(
            at_most(f"{OURS}: milliseconds a proposal at {count} trials, median", milliseconds, targets[name])
        )
        figures.append(
            Figure(name=f"{OURS}: milliseconds a proposal at {count} trials, worst of 12", value=1000 * max(seconds))
        )
    return figures


if __name__ == "__main__":
    sys.exit(main())
