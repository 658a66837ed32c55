"""Whole searches in seconds: simulated workers train tabulated trials on a virtual clock; real samplers, real rules.

The sampler and the stopping rule are kdsearch's own, asked as the driver asks them; what is simulated is training: a
trial's curve comes from benchmarks/tabulated.py, its epochs last as long as those of the table's trials.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from optuna.trial import TrialState

from benchmarks import digits_space
from benchmarks.tabulated import CLASSES, SHAPE, Curve, Tabulated
from kdsearch import ConvNet, pareto
from kdsearch.sampling import Proposals
from kdsearch.screening import Screen
from kdsearch.seeds import derive
from kdsearch.stopping import Mark, Rule, rung_epochs
from kdsearch.students.base import count_parameters, on_meta

TEACHER = ConvNet(width=48, depth=5)
WORKERS = 4


@dataclass(frozen=True)
class Finished:
    """A complete trial; `spent` counts all epochs handed to workers up to and with its last."""

    spent: int
    parameters: int
    accuracy: float


@dataclass
class _Trial:
    curve: Curve
    stops: tuple[int, ...]  # epochs at which it stands, the last is its end
    rung: int = 0  # how many of them it has reached
    running: bool = False

    @property
    def next_epochs(self) -> int:
        return self.stops[self.rung] - (self.stops[self.rung - 1] if self.rung else 0)

    def mark(self, number: int) -> Mark:
        accuracies = tuple(self.curve.accuracies[epoch - 1] for epoch in self.stops[: self.rung])
        waiting = not self.running and 0 < self.rung < len(self.stops)
        return Mark(trial=number, parameters=self.curve.parameters, accuracies=accuracies, waiting=waiting)


@dataclass
class Simulation:
    """One search of `epochs` in total by `workers` that are never idle. `rule` None trains every trial in full.

    The budget ends at the first stretch that it does not cover; what runs by then is finished.
    """

    table: Tabulated
    sampler: str
    rule: Rule | None
    seed: int
    epochs: int
    workers: int = WORKERS
    began: int = 0
    _marks: dict[int, Mark] = field(default_factory=dict)
    _trials: dict[int, _Trial] = field(default_factory=dict)

    def run(self) -> list[Finished]:
        study = replace(digits_space.study(), sampler=self.sampler, seed=self.seed)
        self._proposals = Proposals(study, screen(), [], reference())
        finished: list[Finished] = []
        ends: list[tuple[float, int, int]] = []  # when, which trial, epochs spent by then
        now, spent = 0.0, 0
        while True:
            while len(ends) < self.workers and spent < self.epochs:
                number = self._choose()
                trial = self._trials[number]
                spent += trial.next_epochs
                if spent > self.epochs:
                    break
                first = trial.stops[trial.rung - 1] if trial.rung else 0
                seconds = sum(trial.curve.seconds[first : trial.stops[trial.rung]])
                heapq.heappush(ends, (now + seconds, number, spent))
                trial.running = True
                self._marks[number] = trial.mark(number)
            if not ends:
                return finished
            now, number, spent_then = heapq.heappop(ends)
            if self._arrive(number):
                curve = self._trials[number].curve
                finished.append(Finished(spent_then, curve.parameters, curve.final))

    def _choose(self) -> int:
        """A waiting trial that may go on, else a new one."""
        if self.rule is not None and (chosen := self.rule.promotable(list(self._marks.values()))):
            return chosen[0]
        number = self.began
        proposal = self._proposals.propose(number)
        self._proposals.accepted(number, proposal.token)
        curve = self.table.trial(proposal.params, derive(self.seed, "simulated", number))
        rungs = self.rule.rungs if self.rule is not None else (1.0,)
        self._trials[number] = _Trial(curve, rung_epochs(rungs, curve.start_epochs, curve.epochs))
        self.began += 1
        return number

    def _arrive(self, number: int) -> bool:
        """A trial comes to its next rung; gives whether it is complete."""
        trial = self._trials[number]
        trial.rung += 1
        trial.running = False
        mark = self._marks[number] = trial.mark(number)
        values = (mark.accuracies[-1], mark.parameters)
        complete = trial.rung == len(trial.stops)
        if complete:
            self._proposals.told(number, TrialState.COMPLETE, values)
        else:
            self._proposals.standing(number, values)
        return complete


def hypervolume(finished: Sequence[Finished], epochs: int) -> float:
    """What a budget of so many epochs had found: accuracy above chance times log10 parameters below the teacher's."""
    points = [(-one.accuracy, np.log10(one.parameters)) for one in finished if one.spent <= epochs]
    corner = np.array([-reference()["accuracy"], np.log10(reference()["parameters"])])
    return pareto.hypervolume(np.array(points).reshape(-1, 2), corner)


@cache
def screen() -> Screen:
    """What is known of each student before training, kept for all searches of a process."""
    return Screen(digits_space.study(), SHAPE, CLASSES, [on_meta(TEACHER, SHAPE, CLASSES)])


@cache
def reference() -> dict[str, float]:
    """As `StudyFacts` has it: chance level and the teacher's size."""
    return {"accuracy": 1 / CLASSES, "parameters": count_parameters(TEACHER.build(SHAPE, CLASSES))}
