"""Early stopping with several objectives: which waiting trials go on. Pure: no training, no database, no clock.

A trial is trained to a rung, waits there with its state kept, and goes on once a rule lets it. Nothing is ever killed:
what waits may be let on later, when more is known. Trials are compared by accuracy and by parameters, which are known
before training. Rules are values to choose from: `RULES` names them.
Left out: objectives that only the end of training tells (latency, macro F1); accuracy stands for them until then.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kdsearch import pareto
from kdsearch.mistakes import Mistake

Floats = NDArray[np.float64]

_SURE = 1e-4
"""Accuracies count as no nearer than this to 0 and 1, where the logit has no value."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Where a trial stands: its size, and its validation accuracy at each rung that it has reached, in order.

    `waiting`: it stands at its last rung reached and is not being trained; else it runs, or is complete, with as many
    accuracies as there are rungs.
    """

    trial: int
    parameters: int
    accuracies: tuple[float, ...]
    waiting: bool


class Rule(Protocol):
    """Says who may go on. `rungs` are rising fractions in (0, 1] of a trial's own distil stage; the last is 1."""

    @property
    def rungs(self) -> tuple[float, ...]: ...

    def promotable(self, marks: Sequence[Mark]) -> list[int]:
        """Of the waiting trials those that may go on now, the most promising first.

        Depends on the set of marks alone: their order changes nothing.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class MOASHA:
    """Asynchronous successive halving for several objectives (Schmucker et al. 2021, arXiv:2106.12639).

    At each rung the first 1/`reduction` (rounded down) of all that ever reached it may go on, by non-dominated rank
    over (accuracy at the rung, log10 parameters), then by epsilon-net order within a rank (Salinas et al. 2021), each
    objective scaled to its span at the rung. The highest rung comes first, as in ASHA (arXiv:1810.05934).
    """

    rungs: tuple[float, ...] = (1 / 3, 1.0)
    reduction: float = 3.0

    def __post_init__(self) -> None:
        check_rungs(self.rungs)
        if not self.reduction > 1:
            raise Mistake(f"reduction must be above 1, got {self.reduction}; 3 lets the best third of each rung go on")

    def promotable(self, marks: Sequence[Mark]) -> list[int]:
        board = _Board(marks)
        chosen: list[int] = []
        for rung in reversed(range(len(self.rungs) - 1)):
            if board.standing(rung).any():
                chosen += self._first_at(board, rung)
        return chosen

    def _first_at(self, board: "_Board", rung: int) -> list[int]:
        """Those standing at the rung among the best of all that reached it. Ranks without any are only counted."""
        reached = np.flatnonzero(board.rungs_N > rung)
        standing = board.standing(rung)[reached]
        points_N2 = np.column_stack([-board.accuracies(reached, rung), np.log10(board.parameters_N[reached])])
        ranks_N = pareto.ranks(points_N2)
        before = np.concatenate([[0], np.cumsum(np.bincount(ranks_N))])  # how many are of a lower rank
        places = int(len(reached) / self.reduction)
        scaled_N2 = _scaled(points_N2)
        chosen: list[int] = []
        for rank in np.unique(ranks_N[standing & (before[ranks_N] < places)]).tolist():
            members = np.flatnonzero(ranks_N == rank)
            order = members[pareto.epsilon_net(scaled_N2[members], places - int(before[rank]))]
            chosen += board.trials_N[reached[order[standing[order]]]].tolist()
        return chosen


@dataclass(frozen=True, kw_only=True)
class Bound:
    """An optimistic bound: a trial waits while even a lucky end would leave it off the front at its own size.

    What it may still gain, in logits of accuracy, is read off complete trials that stood alike at the same rung: the
    `quantile` of the gains of its `neighbours` in the order of accuracy there, half of them below it and half above.
    While fewer than `neighbours` are complete, `margin` logits times the missing share are added. It goes on where the
    accuracy so bounded is above that of every complete trial of at most its size; the farthest above comes first, after
    those that would be the smallest of all. Until a first trial is complete everyone goes on.
    """

    rungs: tuple[float, ...] = (1 / 3, 1.0)
    quantile: float = 0.9
    neighbours: int = 10
    margin: float = 1.0

    def __post_init__(self) -> None:
        check_rungs(self.rungs)
        if not 0 <= self.quantile <= 1:
            raise Mistake(f"quantile must be in [0, 1], got {self.quantile}; 1 takes the greatest gain seen")
        if self.neighbours < 1:
            raise Mistake(f"neighbours must be at least 1, got {self.neighbours}")
        if not self.margin >= 0:
            raise Mistake(f"margin must be at least 0 logits, got {self.margin}; 0 trusts the few that are complete")

    def promotable(self, marks: Sequence[Mark]) -> list[int]:
        board = _Board(marks)
        complete = np.flatnonzero(board.rungs_N == len(self.rungs))
        finals = _logit(board.accuracies(complete, -1))
        by_size = np.argsort(board.parameters_N[complete], kind="stable")
        sizes, bar = board.parameters_N[complete][by_size], np.maximum.accumulate(finals[by_size])
        found: list[tuple[float, float, int]] = []
        for rung in range(len(self.rungs) - 1):
            standing = np.flatnonzero(board.standing(rung))
            if not len(standing):
                continue
            then, now = _logit(board.accuracies(complete, rung)), _logit(board.accuracies(standing, rung))
            bounded = now + self._gains(then, finals, now)
            place = np.searchsorted(sizes, board.parameters_N[standing], side="right")
            above = bounded - np.concatenate([[-np.inf], bar])[place]  # without a complete trial so small: +inf
            may = above > 0
            found += zip(-above[may], -bounded[may], board.trials_N[standing[may]].tolist(), strict=True)
        return [trial for *_, trial in sorted(found)]

    def _gains(self, then: Floats, finals: Floats, now: Floats) -> Floats:
        """What each of `now` may gain, from what complete trials that stood at `then` came to, all in logits."""
        if not len(then):
            return np.zeros_like(now)
        order = np.lexsort((finals, then))
        then, gains = then[order], (finals - then)[order]
        width = min(self.neighbours, len(then))
        nth = math.ceil(self.quantile * (width - 1))
        windows = np.partition(np.lib.stride_tricks.sliding_window_view(gains, width), nth, axis=1)
        middle = np.searchsorted(then, now, side="left") + np.searchsorted(then, now, side="right") + 1
        around = np.clip((middle - width) // 2, 0, len(then) - width)
        found: Floats = windows[around, nth] + self.margin * (1 - width / self.neighbours)
        return found


RULES: dict[str, type[MOASHA] | type[Bound]] = {"moasha": MOASHA, "bound": Bound}


def rung_epochs(rungs: Sequence[float], start_epochs: int, epochs: int) -> tuple[int, ...]:
    """The epochs of a trial's whole budget after which it stands at each rung; as many as rungs, the last is `epochs`.

    A rung is the first whole epoch at or after its fraction of the distil stage, which has `epochs - start_epochs`.
    A rung that would coincide with the one before comes an epoch later. Where there are fewer epochs than rungs, the
    last rungs share the last epoch: a trial that comes to it has reached them all.
    """
    distil = epochs - start_epochs
    reached = [0]
    for rung in rungs:
        # the fraction 1/3 of 27 epochs is 9 of them, whatever its last binary digit says
        reached.append(min(max(math.ceil(rung * distil - 1e-9), reached[-1] + 1), distil))
    return tuple(start_epochs + epoch for epoch in reached[1:])


def check_rungs(rungs: Sequence[float]) -> None:
    """Raise `Mistake` for rungs that are no rising fractions in (0, 1] with 1 at the end."""
    if not isinstance(rungs, Sequence) or not all(isinstance(rung, (int, float)) for rung in rungs):
        raise Mistake(f"rungs must be fractions of the distil stage, for instance (1/3, 1), got {rungs!r}")
    rising = all(low < high for low, high in zip((0.0, *rungs), rungs, strict=False))
    if not rungs or not rising or rungs[-1] != 1:
        raise Mistake(
            f"rungs must be rising fractions of the distil stage, above 0 and ending at 1, got {tuple(rungs)}; "
            "for instance (1/3, 1)"
        )


class _Board:
    """Marks by trial, as arrays of N: thousands of them are looked at before each decision."""

    def __init__(self, marks: Sequence[Mark]) -> None:
        trials = np.array([mark.trial for mark in marks], dtype=np.intp)
        order = np.argsort(trials, kind="stable")
        self.trials_N = trials[order]
        self._order = order
        self._accuracies = [mark.accuracies for mark in marks]
        self.parameters_N = np.array([mark.parameters for mark in marks], dtype=np.float64)[order]
        self.rungs_N = np.array([len(reached) for reached in self._accuracies], dtype=np.intp)[order]
        self._waiting_N = np.array([mark.waiting for mark in marks], dtype=bool)[order]

    def standing(self, rung: int) -> NDArray[np.bool_]:
        """Which marks wait at this rung."""
        stands: NDArray[np.bool_] = self._waiting_N & (self.rungs_N == rung + 1)
        return stands

    def accuracies(self, places: NDArray[np.intp], rung: int) -> Floats:
        """The accuracies at a rung (-1 the last) of the marks at `places`."""
        return np.array([self._accuracies[place][rung] for place in self._order[places].tolist()], dtype=np.float64)


def _scaled(points_ND: Floats) -> Floats:
    """Each objective to [0, 1]; one in which all points are equal to 0."""
    low, span = points_ND.min(axis=0), np.ptp(points_ND, axis=0)
    scaled: Floats = (points_ND - low) / np.where(span > 0, span, 1.0)
    return scaled


def _logit(accuracies: Floats) -> Floats:
    sure = np.clip(accuracies, _SURE, 1 - _SURE)
    logits: Floats = np.log(sure / (1 - sure))
    return logits
