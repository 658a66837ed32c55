"""How trials end, or come to wait at a rung: what the database, the sampler, the files and the listeners get of it."""

from optuna.trial import TrialState

from kdsearch.budget import Meter
from kdsearch.events import Listener, Note, TrialEnded, TrialWaits
from kdsearch.keeping import Keeper
from kdsearch.mistakes import DiskError
from kdsearch.patience import UnansweredError
from kdsearch.pausing import Pauses
from kdsearch.sampling import Proposals
from kdsearch.store import Store
from kdsearch.trial import Failed
from kdsearch.underway import UnderWay

_FAILED_AT_FIRST = 5


class Endings:
    """Of the trials of one driver. The database is written first: what it has is never trained again."""

    def __init__(
        self,
        store: Store,
        *,
        objectives: tuple[str, ...],
        proposals: Proposals,
        keeper: Keeper,
        pauses: Pauses,
        meter: Meter,
        tell: Listener,
    ) -> None:
        self._store = store
        self._objectives = objectives
        self._proposals = proposals
        self._keeper = keeper
        self._pauses = pauses
        self._meter = meter
        self._tell = tell
        self._completed = 0
        self._failed = 0
        self._paused = 0

    @property
    def fruitless(self) -> bool:
        """Whether trials have failed and none has come to anything."""
        return self._failed > 0 and not self._completed and not self._paused

    @property
    def hopeless(self) -> str | None:
        """Why there is no sense in going on, if so."""
        if not self.fruitless or self._failed < _FAILED_AT_FIRST:
            return None
        return f"the first {self._failed} trials of this run all failed; the reason of the last is above"

    def complete(self, number: int, trial: UnderWay, measured: dict[str, float]) -> None:
        """It is trained in full, and `measured`."""
        with trial.checkpointing():
            self._keeper.keep_student(number, trial)
        measured = {**trial.known, **measured}
        values = [measured[objective] for objective in self._objectives]
        try:
            self._store.complete(number, values, measured, trial.curve, trial.rounded())
        except (UnansweredError, DiskError):
            self._keeper.keep(number, trial)  # at its end: the next run has but to measure it
            raise
        self._proposals.told(number, TrialState.COMPLETE, values)
        self._pauses.completed(number, trial.recipe, trial.known, trial.curve)
        self._meter.complete(measured["accuracy"], measured["parameters"])
        self._completed += 1
        self._end(number)

    def fail(self, number: int, trial: UnderWay, failed: Failed) -> None:
        """Its own code raised, its loss diverged, or its segment was lost too often."""
        if failed.trace:
            self._tell(Note(f"trial {number} raised; its traceback is in {self._keeper.log(number, failed.trace)}"))
        self._store.fail(number, failed.reason, trial.curve, trial.rounded())
        self._proposals.told(number, TrialState.FAIL)
        self._pauses.forget(number)
        self._failed += 1
        self._end(number)

    def pause(self, number: int, trial: UnderWay) -> None:
        """It waits at a rung; what it has shown so far counts for the sampler."""
        self._pauses.arrived(number, trial.recipe, trial.known, trial.curve)
        self._store.waits(number, True)
        self._paused += 1
        if (values := self._standing(trial)) is not None:
            self._proposals.standing(number, values)
        self._tell(TrialWaits(number, trial.epoch, trial.recipe.epochs))
        trial.state = None  # it is on disk, and many may wait

    def prune(self, waiting: dict[int, UnderWay], why: str) -> None:
        """The budget is used: what waits at a rung ends here, with its results and its state kept."""
        if waiting and not self._completed:
            said = f"{self._pauses.name} let none of the {len(waiting)} trials that wait be trained to its end"
            self._tell(Note(f"{said}; give the study more trials, or none as its stopping rule"))
        for number, trial in waiting.items():
            reason = f"{self._pauses.name} let it wait after {trial.epoch} of {trial.recipe.epochs} epochs; {why}"
            self._store.prune(number, reason, trial.curve, trial.rounded(), self._standing(trial))
            self._tell(TrialEnded(self._store.record(number)))

    def _standing(self, trial: UnderWay) -> list[float] | None:
        """The study's objectives as far as a trial shows them before its end; None where only the end can tell one."""
        shown = {**trial.known, "accuracy": trial.curve[-1]["validation_accuracy"]}
        if not all(name in shown for name in self._objectives):
            return None
        return [shown[name] for name in self._objectives]

    def _end(self, number: int) -> None:
        self._keeper.drop(number)
        self._tell(TrialEnded(self._store.record(number)))
