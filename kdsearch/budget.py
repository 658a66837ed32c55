"""When a search ends: after so many trials, minutes or epochs, or when the hypervolume has stopped growing."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from kdsearch import pareto
from kdsearch.mistakes import Mistake
from kdsearch.records import StudyFacts, TrialRecord


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A study's limits, all of them totals over its runs but `minutes`, which are this run's.

    `trials` counts what is begun, screened proposals excepted. Once `epochs` have been trained in all trials together,
    nothing new is begun; what runs is trained to its end. `patience` ends the search after so many complete trials in a
    row without a gain in hypervolume.
    """

    trials: int
    minutes: float | None = None
    epochs: int | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("trials", "minutes", "epochs", "patience"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise Mistake(f"{name} must be above 0, got {value}")


class Meter:
    """What of a budget is used, and why the search has to end, if it has to."""

    def __init__(
        self, budget: Budget, facts: StudyFacts, records: Iterable[TrialRecord], clock: Callable[[], float]
    ) -> None:
        self.budget = budget
        self._clock = clock
        self._deadline = clock() + 60 * budget.minutes if budget.minutes is not None else None
        self._reference = np.array([-facts.reference["accuracy"], np.log10(facts.reference["parameters"])])
        self._front = np.empty((0, 2))
        self._volume = 0.0
        self._fruitless = 0
        self._begun = 0
        self._epochs = 0
        records = list(records)
        for record in records:
            self._begun += record.state != "screened"
            self._epochs += record.epochs_trained
        for record in sorted(records, key=lambda record: record.ended_ms or 0):
            if record.state == "complete":
                self._weigh(record.measured["accuracy"], record.known["parameters"])

    @property
    def late(self) -> bool:
        """Whether the time given is over."""
        return self._deadline is not None and self._clock() >= self._deadline

    @property
    def exceeded(self) -> str | None:
        """Why nothing new may be begun for another reason than the number of trials; None while it may."""
        budget = self.budget
        if self.late:
            return "the time given is over"
        if budget.epochs is not None and self._epochs >= budget.epochs:
            return f"{self._epochs:,} epochs are trained, of {budget.epochs:,} given"
        if budget.patience is not None and self._fruitless >= budget.patience:
            return f"the hypervolume has not grown for {self._fruitless} complete trials (patience)"
        return None

    @property
    def room(self) -> bool:
        """Whether another trial may be begun."""
        return self._begun < self.budget.trials and self.exceeded is None

    def begun(self) -> None:
        self._begun += 1

    def trained(self, epochs: int) -> None:
        self._epochs += epochs

    def complete(self, accuracy: float, parameters: float) -> None:
        self._weigh(accuracy, parameters)

    def _weigh(self, accuracy: float, parameters: float) -> None:
        points = np.vstack([self._front, [-accuracy, np.log10(parameters)]])
        self._front = points[pareto.front(points)]
        volume = pareto.hypervolume(self._front, self._reference)
        self._fruitless = 0 if volume > self._volume else self._fruitless + 1
        self._volume = volume
