"""The driver: what is trained next, and what becomes of what was trained.

There is one driver to a study. Workers know neither Optuna nor MLflow; the database has every trial before its first
segment is run and every result before the next proposal is asked for.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from optuna.trial import TrialState

from kdsearch.accounting import Timesheet
from kdsearch.attempts import POLL_SECONDS, Attempts, Lost
from kdsearch.budget import Budget, Meter
from kdsearch.events import (
    Listener,
    Note,
    SearchBegan,
    SearchEnded,
    SegmentBegan,
    SegmentEnded,
    TeacherMeasured,
    TrialBegan,
    TrialEnded,
    TrialWaits,
)
from kdsearch.executors import Executor
from kdsearch.files import DamagedError
from kdsearch.intake import Intake
from kdsearch.keeping import Keeper
from kdsearch.mistakes import Mistake
from kdsearch.patience import UnansweredError
from kdsearch.pausing import Pauses
from kdsearch.prepare import Prepared
from kdsearch.records import Inherited
from kdsearch.sampling import ExhaustedError, Proposals
from kdsearch.starts import Starts
from kdsearch.stopping import Rule
from kdsearch.store import Store
from kdsearch.trial import Failed, Progress, Segment
from kdsearch.underway import UnderWay

_FAILED_AT_FIRST = 5


class Driver:
    """Drives one study on an executor. `rule` is its early stopping, None for none;
    `teacher_accuracy` comes where it was not known before. Not to be used twice."""

    def __init__(
        self,
        prepared: Prepared,
        store: Store,
        executor: Executor,
        *,
        budget: Budget,
        rule: Rule | None,
        tell: Listener,
        stopping: Callable[[], bool],
        teacher_accuracy: "Future[float] | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._study = prepared.study
        self._store = store
        self._executor = executor
        self._tell = tell
        self._asked_to_stop = stopping
        self._teacher_accuracy = teacher_accuracy
        self._records = store.records()
        self._meter = Meter(budget, store.facts, self._records, clock)
        self._timesheet = Timesheet(executor.capacity, clock)
        self._proposals = Proposals(self._study, prepared.screen, store.frozen_trials(), prepared.facts.reference)
        self._keeper = Keeper(prepared.workspace, self._study.name)
        self._intake = Intake(prepared, store, self._proposals, self._keeper, tell, clock)
        self._pauses = Pauses(rule, self._records, self._keeper.holds)
        self._starts = Starts(prepared.workspace.starts(self._study.name))
        self._under_way: dict[int, UnderWay] = {}
        self._ready: deque[int] = deque()
        self._attempts = Attempts(executor, clock=clock, stall_minutes=self._study.stall_minutes)
        self._exhausted: str | None = None
        self._failed_here = 0
        self._completed_here = 0
        self._paused_here = 0

    def run(self) -> SearchEnded:
        """Search until the budget is used; the result says what ended it before. Listeners hear of what is raised."""
        budget = self._meter.budget
        self._tell(
            SearchBegan(self._store.facts, self._records, budget.trials, self._executor.capacity, budget.minutes)
        )
        try:
            stopped = self._work()
        except BaseException as error:
            self._tell(self._ended(str(error), interrupted=isinstance(error, KeyboardInterrupt), raised=True))
            raise
        ended = self._ended(stopped, interrupted=self._asked_to_stop(), raised=False)
        self._tell(ended)
        return ended

    def _work(self) -> str | None:
        try:
            self._adopt()
            stopped = self._loop()
        except Exception:
            while self._attempts:  # what the others have trained is kept, whatever went wrong
                with contextlib.suppress(Mistake):  # the same trouble, in the hands of another
                    self._wind_down()
                    break
            raise
        else:
            self._wind_down()
        finally:
            if (session := self._timesheet.session()) is not None:
                self._store.add_session(session)
        if not self._asked_to_stop():
            self._note_teacher(wait=True)
            self._prune(stopped or "the trials of the budget are begun")
        return stopped

    def _ended(self, stopped: str | None, *, interrupted: bool, raised: bool) -> SearchEnded:
        fruitless = self._failed_here > 0 and not self._completed_here and not self._paused_here
        failed = (raised and not interrupted) or fruitless
        store = self._store
        return SearchEnded(store.facts, store.records(), store.ledger.read(), stopped, interrupted, failed)

    def _stopping(self) -> bool:
        return self._asked_to_stop() or self._meter.late

    def _note_teacher(self, *, wait: bool) -> None:
        """Write the teacher's accuracy down once it is measured."""
        future = self._teacher_accuracy
        while wait and future is not None and not future.done() and not self._asked_to_stop():
            time.sleep(POLL_SECONDS)
        if future is None or not future.done():
            return
        self._teacher_accuracy = None
        if (error := future.exception()) is not None:
            self._tell(Note(f"the teacher could not be measured: {error}"))
            return
        self._store.note_teacher_accuracy(future.result())
        self._tell(TeacherMeasured(future.result()))

    # which trial is next

    def _adopt(self) -> None:
        """Take up the trials that an earlier run left, from their last kept state if there is one."""
        for record in self._records:
            if record.state != "running":
                continue
            trial = self._intake.again(record)
            if record.waiting:
                self._store.waits(record.number, False)
            if record.continues is not None and self._keeper.holds(record.continues):
                self._keeper.hand_over(record.continues, record.number)  # ended between the two
            try:
                trial.state, trial.curve = self._keeper.recall(record.number)
            except FileNotFoundError:
                self._anew(record.number, trial)  # it had not come to its first checkpoint
            except DamagedError as error:
                self._anew(record.number, trial)
                self._tell(Note(f"trial {record.number} begins again: {error}"))
            self._meter.trained(len(trial.curve) - (trial.inherited.epochs if trial.inherited else 0))
            self._under_way[record.number] = trial
            self._tell(TrialBegan(record, adopted=True))
            self._place(record.number)
        self._ready = deque(sorted(self._ready))

    def _anew(self, number: int, trial: UnderWay) -> None:
        """What another trial had trained of this one is gone."""
        if trial.inherited is not None:
            trial.inherited = None
            self._store.inherits(number, None)

    def _loop(self) -> str | None:
        """Keep the executor full until the budget is used; gives the reason if it ends before."""
        while not self._stopping():
            capacity = self._executor.capacity
            self._timesheet.there_are(capacity)
            while len(self._attempts) < capacity and not self._stopping() and self._go_on():
                pass
            if not self._attempts:
                return self._exhausted or self._meter.exceeded
            self._note_teacher(wait=False)
            for number, outcome in self._attempts.outcomes(self._tell):
                self._settle(number, outcome)
            if self._failed_here >= _FAILED_AT_FIRST and not self._completed_here and not self._paused_here:
                return f"the first {self._failed_here} trials of this run all failed; the reason of the last is above"
        return None if self._asked_to_stop() else self._meter.exceeded

    def _go_on(self) -> bool:
        """Submit what is ready, else what waits and may go on, else add a new trial; False where there is nothing."""
        if self._ready:
            self._submit(self._ready.popleft())
            return True
        if self._meter.exceeded is None and (number := self._pauses.promote(again=self._meter.room)) is not None:
            if number in self._under_way:
                self._resume(number)
            else:
                self._continue(number)
            return True
        if self._exhausted is None and self._meter.room:
            try:
                number, trial = self._intake.fresh()
            except ExhaustedError as error:
                self._exhausted = str(error)
            else:
                self._meter.begun()
                if trial is not None:
                    self._enter(number, trial)
            return True
        return False

    def _enter(self, number: int, trial: UnderWay) -> None:
        self._under_way[number] = trial
        self._tell(TrialBegan(self._store.record(number)))
        self._place(number)

    def _place(self, number: int) -> None:
        """Where a trial belongs: at its rung, with those that share its start, or among those to be trained next."""
        trial = self._under_way[number]
        if not trial.curve and trial.in_start:
            self._share_start(number, trial)
        if self._pauses.stands(trial.recipe, trial.epoch):
            self._pause(number)
        elif not trial.in_start or self._starts.claim(number, trial.recipe, trial.seeds):
            self._ready.appendleft(number)  # before others: a worker may still have at hand what it needs

    def _share_start(self, number: int, trial: UnderWay) -> None:
        try:
            shared = self._starts.find(trial.recipe, trial.seeds)
        except DamagedError as error:
            self._tell(Note(f"trial {number} trains its start again: {error}"))
            return
        if shared is not None:
            trial.state, trial.curve = shared.state, list(shared.curve)
            trial.inherited = Inherited(kind="start", trial=shared.trial, epochs=shared.state.epoch)
            self._store.inherits(number, trial.inherited)

    def _release(self, number: int, trial: UnderWay) -> None:
        """Trials that waited for this one's start go on with it, or one of them trains it where this one failed."""
        for parked in self._starts.release(number, trial.recipe, trial.seeds):
            self._place(parked)

    # early stopping

    def _pause(self, number: int) -> None:
        """The trial waits at a rung; what it has shown so far counts for the sampler."""
        trial = self._under_way[number]
        self._pauses.arrived(number, trial.recipe, trial.known, trial.curve)
        self._store.waits(number, True)
        self._paused_here += 1
        if (values := self._standing(trial)) is not None:
            self._proposals.standing(number, values)
        self._tell(TrialWaits(number, trial.epoch, trial.recipe.epochs))
        trial.state = None  # it is on disk, and many may wait

    def _standing(self, trial: UnderWay) -> list[float] | None:
        """The study's objectives as far as a trial shows them before its end; None where only the end can tell one."""
        shown = {**trial.known, "accuracy": trial.curve[-1]["validation_accuracy"]}
        if not all(name in shown for name in self._study.objectives):
            return None
        return [shown[name] for name in self._study.objectives]

    def _resume(self, number: int) -> None:
        """Let a trial of this run go on from its rung."""
        trial = self._under_way[number]
        self._store.waits(number, False)
        try:
            trial.state, trial.curve = self._keeper.recall(number)
        except (FileNotFoundError, DamagedError) as error:
            self._tell(Note(f"trial {number} begins again: {error}"))
            trial.state, trial.curve = None, []
            self._anew(number, trial)
            self._place(number)
        else:
            self._submit(number)

    def _continue(self, pruned: int) -> None:
        """Take a trial up again that an earlier budget pruned."""
        self._pauses.forget(pruned)
        try:
            number, trial = self._intake.continued(pruned)
        except DamagedError as error:
            self._tell(Note(f"trial {pruned} cannot go on: {error}"))
            self._keeper.drop(pruned)
            return
        self._meter.begun()
        self._under_way[number] = trial
        self._tell(TrialBegan(self._store.record(number)))
        self._submit(number)

    def _prune(self, why: str) -> None:
        """The budget is used: what waits at a rung ends here, with its results and its state kept."""
        waiting = [number for number in self._pauses.waiting if number in self._under_way]
        if waiting and not self._completed_here:
            said = f"{self._pauses.name} let none of the {len(waiting)} trials that wait be trained to its end"
            self._tell(Note(f"{said}; give the study more trials, or none as its stopping rule"))
        for number in waiting:
            trial = self._under_way.pop(number)
            reason = f"{self._pauses.name} let it wait after {trial.epoch} of {trial.recipe.epochs} epochs; {why}"
            self._store.prune(number, reason, trial.curve, trial.rounded(), self._standing(trial))
            self._tell(TrialEnded(self._store.record(number)))

    # segments

    def _submit(self, number: int) -> None:
        trial = self._under_way[number]
        # a segment never crosses from the start into the distil stage: equal starts are shared there
        stage_end = trial.recipe.start_epochs if trial.in_start else trial.recipe.epochs
        upto = min(trial.epoch + self._study.segment_epochs, stage_end)
        segment = Segment(
            trial=number,
            recipe=trial.recipe,
            seeds=trial.seeds,
            state=trial.state,
            upto=self._pauses.end(trial.recipe, trial.epoch, upto),
            objectives=self._study.objectives,
        )
        self._tell(SegmentBegan(number, trial.epoch, trial.recipe.epochs))
        self._attempts.submit(segment)

    def _settle(self, number: int, result: Progress | Failed | Lost) -> None:
        """Take in what a segment gave, and what becomes of its trial."""
        trial = self._under_way[number]
        self._tell(SegmentEnded(number))
        if isinstance(result, Lost):
            self._tell(Note(f"trial {number}: {result.reason}; its segment will be run again"))
            self._ready.append(number)
            return
        if isinstance(result, Failed):
            self._fail(number, result.reason, result.trace)
            return
        for note in result.notes:
            self._tell(Note(f"trial {number}: {note}"))
        starting = trial.in_start
        trial.take_in(result)
        self._timesheet.add(result)
        self._meter.trained(len(result.curve))
        if result.measured is not None:
            self._complete(number, trial, result.measured)
            return
        with trial.checkpointing():
            self._keeper.keep(number, trial)
            if starting and not trial.in_start:
                self._starts.keep(number, trial)
        if starting and not trial.in_start:
            self._release(number, trial)
        self._place(number)

    # how trials end

    def _complete(self, number: int, trial: UnderWay, measured: dict[str, float]) -> None:
        with trial.checkpointing():
            self._keeper.keep_student(number, trial)
        measured = {**trial.known, **measured}
        values = [measured[objective] for objective in self._study.objectives]
        try:
            self._store.complete(number, values, measured, trial.curve, trial.rounded())
        except UnansweredError:
            self._keeper.keep(number, trial)  # at its end: the next run has but to measure it
            raise
        self._proposals.told(number, TrialState.COMPLETE, values)
        self._pauses.completed(number, trial.recipe, trial.known, trial.curve)
        self._meter.complete(measured["accuracy"], measured["parameters"])
        self._completed_here += 1
        self._end(number)

    def _fail(self, number: int, reason: str, trace: str) -> None:
        if trace:
            self._tell(Note(f"trial {number} raised; its traceback is in {self._keeper.log(number, trace)}"))
        trial = self._under_way[number]
        self._store.fail(number, reason, trial.curve, trial.rounded())
        self._proposals.told(number, TrialState.FAIL)
        self._pauses.forget(number)
        self._failed_here += 1
        self._release(number, trial)
        self._end(number)

    def _end(self, number: int) -> None:
        del self._under_way[number]
        self._keeper.drop(number)
        self._tell(TrialEnded(self._store.record(number)))

    def _wind_down(self) -> None:
        """Stopping: let running segments end after the epoch they are in, and keep their states."""
        if self._attempts:
            kept = f"stopping: {len(self._attempts)} running trials are kept for the next run"
            self._tell(Note(kept, warning=False))
        for number, outcome in self._attempts.wind_down(self._tell):
            self._settle(number, outcome)
