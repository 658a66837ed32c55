"""Which trials wait at a rung, and which of them go on: a stopping rule applied to the trials of one study.

Without a rule nothing ever waits. Trials that an earlier run pruned count on the board too, and where their last states
are still there they may be taken up again.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kdsearch.mistakes import Mistake
from kdsearch.recipe import Recipe
from kdsearch.records import TrialRecord
from kdsearch.stopping import Mark, Rule, rung_epochs


class Pauses:
    """The board of one study. `holds` says whether a trial's last state is kept."""

    def __init__(self, rule: Rule | None, records: Iterable[TrialRecord], holds: Callable[[int], bool]) -> None:
        self._rule = rule
        self._marks: dict[int, Mark] = {}
        self._pruned: set[int] = set()
        if rule is None:
            return
        records = list(records)
        continued = {record.continues for record in records}
        self._pruned = {record.number for record in records if record.state == "pruned" and holds(record.number)}
        self._pruned -= continued
        for record in records:
            if record.state in ("complete", "pruned") and record.number not in continued:
                waiting = record.number in self._pruned
                self._mark(record.number, record.known, _epochs(record), record.curve, waiting=waiting)

    @property
    def name(self) -> str:
        """What the rule is called."""
        return type(self._rule).__name__

    @property
    def waiting(self) -> list[int]:
        """The trials that stand at a rung."""
        return [mark.trial for mark in self._marks.values() if mark.waiting]

    def end(self, recipe: Recipe, epoch: int, end: int) -> int:
        """Where a segment from `epoch` has to end that would end at `end`: no later than at the next rung."""
        rungs = self._rungs(recipe.start_epochs, recipe.epochs)
        return min([end, *(rung for rung in rungs if rung > epoch)])

    def stands(self, recipe: Recipe, epoch: int) -> bool:
        """Whether a trial has to wait for leave after `epoch` of its epochs."""
        return epoch < recipe.epochs and epoch in self._rungs(recipe.start_epochs, recipe.epochs)

    def arrived(self, number: int, recipe: Recipe, known: dict[str, float], curve: Sequence[dict[str, Any]]) -> None:
        """The trial waits at the rung it has come to."""
        self._mark(number, known, (recipe.start_epochs, recipe.epochs), curve, waiting=True)

    def completed(self, number: int, recipe: Recipe, known: dict[str, float], curve: Sequence[dict[str, Any]]) -> None:
        """The trial is trained in full."""
        self._mark(number, known, (recipe.start_epochs, recipe.epochs), curve, waiting=False)

    def promote(self, *, again: bool) -> int | None:
        """The most promising of the trials that may go on, which waits no longer; None where there is none.

        Where `again`, those that an earlier run pruned are among them.
        """
        if self._rule is None or not any(mark.waiting for mark in self._marks.values()):
            return None
        for number in self._rule.promotable(list(self._marks.values())):
            if number in self._pruned and not again:
                continue
            mark = self._marks.get(number)
            if mark is None or not mark.waiting:
                raise Mistake(f"{self.name}.promotable() named trial {number}, which does not wait")
            self._marks[number] = Mark(
                trial=number, parameters=mark.parameters, accuracies=mark.accuracies, waiting=False
            )
            return number
        return None

    def forget(self, number: int) -> None:
        """The trial failed, or another goes on in its place."""
        self._marks.pop(number, None)
        self._pruned.discard(number)

    def _rungs(self, start_epochs: int, epochs: int) -> tuple[int, ...]:
        return rung_epochs(self._rule.rungs, start_epochs, epochs) if self._rule is not None else ()

    def _mark(
        self,
        number: int,
        known: dict[str, float],
        epochs: tuple[int, int],
        curve: Sequence[dict[str, Any]],
        *,
        waiting: bool,
    ) -> None:
        if self._rule is None:
            return
        reached = [rung for rung in self._rungs(*epochs) if rung <= len(curve)]
        self._marks[number] = Mark(
            trial=number,
            parameters=int(known["parameters"]),
            accuracies=tuple(curve[rung - 1]["validation_accuracy"] for rung in reached),
            waiting=waiting and bool(reached),
        )


def _epochs(record: TrialRecord) -> tuple[int, int]:
    return int(record.described["start_epochs"]), int(record.described["epochs"])
