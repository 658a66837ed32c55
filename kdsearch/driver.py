"""The driver: what is trained next, and what becomes of what was trained.

There is one driver to a study. Workers know neither Optuna nor MLflow; the database has every trial before its first
segment is run and every result before the next proposal is asked for.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from kdsearch.accounting import Timesheet
from kdsearch.attempts import POLL_SECONDS, Attempts, Lost
from kdsearch.budget import Budget, Meter
from kdsearch.endings import Endings
from kdsearch.events import (
    Listener,
    Note,
    SearchBegan,
    SearchEnded,
    SegmentBegan,
    SegmentEnded,
    TeacherMeasured,
    TrialBegan,
)
from kdsearch.executors import Executor
from kdsearch.files import DamagedError
from kdsearch.intake import Intake
from kdsearch.keeping import Keeper
from kdsearch.mistakes import Mistake
from kdsearch.pausing import Pauses
from kdsearch.prepare import Prepared
from kdsearch.records import Inherited
from kdsearch.sampling import ExhaustedError, Proposals
from kdsearch.starts import Starts
from kdsearch.stopping import Rule
from kdsearch.store import Store
from kdsearch.trial import Failed, Progress, Segment
from kdsearch.underway import UnderWay


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
        self._endings = Endings(
            store,
            objectives=self._study.objectives,
            proposals=self._proposals,
            keeper=self._keeper,
            pauses=self._pauses,
            meter=self._meter,
            tell=tell,
        )

    def run(self) -> SearchEnded:
        """Search until the budget is used; the result says what ended it before. Listeners hear of what is raised."""
        budget = self._meter.budget
        self._tell(
            SearchBegan(self._store.facts, self._records, budget.trials, self._executor.capacity, budget.minutes)
        )
        try:
            stopped = self._work()
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            why = "it was interrupted; the same command goes on" if interrupted else str(error)
            self._tell(self._ended(why, interrupted=interrupted, raised=True))
            raise
        ended = self._ended(stopped, interrupted=self._asked_to_stop(), raised=False)
        self._tell(ended)
        return ended

    def _work(self) -> str | None:
        try:
            self._adopt()
            stopped = self._loop()
            self._wind_down()
        except BaseException as error:
            if isinstance(error, Exception):
                self._salvage(error)
            with contextlib.suppress(Mistake):  # what ended the search is to be told
                self._account()
            raise
        self._account()
        if not self._asked_to_stop():
            self._note_teacher(wait=True)
            waiting = [number for number in self._pauses.waiting if number in self._under_way]
            why = stopped or "the trials of the budget are begun"
            self._endings.prune({number: self._under_way.pop(number) for number in waiting}, why)
        return stopped

    def _account(self) -> None:
        if (session := self._timesheet.session()) is not None:
            self._store.add_session(session)

    def _ended(self, stopped: str | None, *, interrupted: bool, raised: bool) -> SearchEnded:
        failed = (raised and not interrupted) or self._endings.fruitless
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
            if (hopeless := self._endings.hopeless) is not None:
                return hopeless
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
            self._endings.pause(number, trial)
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
            self._endings.fail(number, trial, result)
            self._release(number, self._under_way.pop(number))
            return
        for note in result.notes:
            self._tell(Note(f"trial {number}: {note}"))
        starting = trial.in_start
        trial.take_in(result)
        self._timesheet.add(result)
        self._meter.trained(len(result.curve))
        if result.measured is not None:
            self._endings.complete(number, trial, result.measured)
            del self._under_way[number]
            return
        with trial.checkpointing():
            self._keeper.keep(number, trial)
            if starting and not trial.in_start:
                self._starts.keep(number, trial)
        if starting and not trial.in_start:
            self._release(number, trial)
        self._place(number)

    def _wind_down(self) -> None:
        """Stopping: let running segments end after the epoch they are in, and keep their states."""
        self._say_that_it_stops("")
        for number, outcome in self._attempts.wind_down(self._tell):
            self._settle(number, outcome)

    def _salvage(self, error: Exception) -> None:
        """Keep what the others have trained, whatever went wrong."""
        self._say_that_it_stops(f" ({error})")
        for number, outcome in self._attempts.wind_down(self._tell):
            with contextlib.suppress(Mistake):  # the same trouble, in the hands of another
                self._settle(number, outcome)

    def _say_that_it_stops(self, why: str) -> None:
        if self._attempts:
            kept = f"stopping{why}: {len(self._attempts)} running trials are kept for the next run"
            within = f"up to {self._attempts.grace_seconds:.0f} s until they have ended the epoch they are in"
            self._tell(Note(f"{kept}; {within}", warning=False))
