"""The driver: asks for proposals, screens, seeds, hands segments to workers, tells the database and whoever listens.

There is one driver to a study. Workers know neither Optuna nor MLflow; the database has every trial before its first
segment is run and every result before the next proposal is asked for.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from optuna.trial import TrialState

from kdsearch.events import Listener, Note, SearchBegan, SearchEnded, TrialBegan, TrialEnded
from kdsearch.executors import Executor, Inline, Local, LostError
from kdsearch.files import DamagedError, load_tensors, save_tensors
from kdsearch.mistakes import Mistake, UserCodeError
from kdsearch.prepare import Prepared
from kdsearch.recipe import Recipe
from kdsearch.sampling import BrokenProposalError, ExhaustedError, Proposal, Proposals
from kdsearch.space import replay
from kdsearch.store import Store, TrialRecord
from kdsearch.training import Epoch
from kdsearch.trial import Failed, Progress, Seeds, Segment
from kdsearch.trial import TrialState as Standing

_RETRIES = 2
_SCREENED_IN_A_ROW = 200
_FAILED_AT_FIRST = 5
_GRACE_SECONDS = 20.0
_POLL_SECONDS = 0.2


@dataclass
class _Running:
    """A trial under way: where it stands, the curve so far, how often its segment was lost."""

    recipe: Recipe
    seeds: Seeds
    known: dict[str, float]
    state: Standing | None = None
    curve: list[Epoch] = field(default_factory=list)
    lost: int = 0


class Driver:
    """Drives one study. Not to be used twice."""

    def __init__(
        self,
        prepared: Prepared,
        store: Store,
        tell: Listener,
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._prepared = prepared
        self._study = prepared.study
        self._store = store
        self._tell = tell
        self._asked_to_stop = stopping
        self._deadline: float | None = None
        self._proposals = Proposals(self._study, prepared.screen, store.frozen_trials())
        self._running: dict[int, _Running] = {}
        self._futures: dict[Future[Progress | Failed], int] = {}
        self._counts: Counter[str] = Counter(record.state for record in store.records())
        self._broken_in_a_row = 0
        self._failed_here = 0
        self._completed_here = 0

    def run(self, engine: str, workers: int, target: int, minutes: float | None) -> SearchEnded:
        """Search until `target` trials; the result says what ended it before. Listeners are told whatever is raised."""
        records = self._store.records()
        todo = target - self._begun() + self._counts["running"]
        workers = max(1, min(workers, todo)) if engine == "local" else 1
        self._tell(SearchBegan(self._store.facts, records, target, workers, minutes))
        self._deadline = self._clock() + 60 * minutes if minutes is not None else None
        stopped: str | None = None
        try:
            if todo > 0:
                stopped = self._work(engine, workers, target, records)
        except BaseException as error:
            self._tell(self._ended(str(error), interrupted=isinstance(error, KeyboardInterrupt), raised=True))
            raise
        ended = self._ended(stopped, interrupted=self._asked_to_stop(), raised=False)
        self._tell(ended)
        return ended

    def _work(self, engine: str, workers: int, target: int, records: list[TrialRecord]) -> str | None:
        executor: Executor
        if engine == "inline":
            executor = Inline(self._prepared.data, self._prepared.signals, self._stopping)
        else:
            executor = Local(self._prepared.job, workers)
        try:
            stopped = self._loop(executor, self._adopt(records), target)
        except Exception:
            self._wind_down(executor)  # what the others have trained is kept, whatever went wrong
            raise
        else:
            self._wind_down(executor)
            return stopped
        finally:
            executor.shutdown()

    def _ended(self, stopped: str | None, *, interrupted: bool, raised: bool) -> SearchEnded:
        failed = (raised and not interrupted) or (self._failed_here > 0 and not self._completed_here)
        return SearchEnded(self._store.facts, self._store.records(), stopped, interrupted, failed)

    def _stopping(self) -> bool:
        return self._asked_to_stop() or self._late()

    def _late(self) -> bool:
        return self._deadline is not None and self._clock() >= self._deadline

    def _begun(self) -> int:
        """Trials that count towards the study's total."""
        return sum(count for state, count in self._counts.items() if state != "screened")

    def _adopt(self, records: list[TrialRecord]) -> list[int]:
        """Take up the trials that an earlier run left, from their last kept state if there is one."""
        adopted = []
        for record in records:
            if record.state != "running":
                continue
            recipe = self._prepared.screen(replay(self._study.space, record.params)[0]).recipe
            running = _Running(recipe, Seeds(**record.seeds), record.known)
            path = self._prepared.workspace.checkpoint(self._study.name, record.number)
            try:
                tensors, notes = load_tensors(path)
                running.state = Standing.unpack(tensors, notes["state"])
                running.curve = notes["curve"]
            except FileNotFoundError:
                pass  # it had not come to its first checkpoint
            except DamagedError as error:
                self._tell(Note(f"trial {record.number} begins again: {error}"))
            self._running[record.number] = running
            self._tell(TrialBegan(record, adopted=True))
            adopted.append(record.number)
        return adopted

    def _loop(self, executor: Executor, waiting: list[int], target: int) -> str | None:
        """Keep the executor full until the budget is used; gives the reason if it ends before."""
        exhausted: str | None = None
        while not self._stopping():
            while len(self._futures) < executor.capacity and not self._stopping():
                if waiting:
                    self._submit(executor, waiting.pop(0))
                elif exhausted is None and self._begun() < target:
                    try:
                        self._begin(executor)
                    except ExhaustedError as error:
                        exhausted = str(error)
                else:
                    break
            if not self._futures:
                return exhausted
            done = executor.wait(self._futures, _POLL_SECONDS)
            for event in executor.events():
                self._tell(event)
            for future in done:
                more = self._settle(future)
                if more is not None and not self._stopping():
                    self._submit(executor, more)
            if self._failed_here >= _FAILED_AT_FIRST and not self._completed_here:
                return f"the first {self._failed_here} trials of this run all failed; the reason of the last is above"
        return "the time given is over" if self._late() and not self._asked_to_stop() else None

    def _begin(self, executor: Executor) -> None:
        """Propose until a recipe can be trained, add it to the database, submit its first segment."""
        for _ in range(_SCREENED_IN_A_ROW):
            number = len(self._store.frozen_trials())
            try:
                proposal = self._proposals.propose(number)
            except BrokenProposalError as broken:
                self._record_broken(broken)
                return
            self._broken_in_a_row = 0
            if proposal.candidate.reason is None:
                break
            self._add(proposal, number)
            self._counts["screened"] += 1
            self._proposals.told(number, TrialState.PRUNED)
            self._tell(TrialEnded(self._store.record(number)))
        else:
            raise ExhaustedError(
                f"{_SCREENED_IN_A_ROW} proposals in a row could not work; the last because: {proposal.candidate.reason}"
            )
        seeds = self._add(proposal, number)
        self._counts["running"] += 1
        self._running[number] = _Running(proposal.candidate.recipe, seeds, proposal.known)
        self._tell(TrialBegan(self._store.record(number)))
        self._submit(executor, number)

    def _add(self, proposal: Proposal, number: int) -> Seeds:
        """Write the proposal to the database as trial `number`; gives its seeds."""
        recipe = proposal.candidate.recipe
        seeds = Seeds.of(self._study.seed, recipe, number)
        added = self._store.add(
            params=proposal.params,
            distributions=proposal.distributions,
            system_attrs=proposal.system_attrs,
            attrs={
                "recipe": recipe.to_json(),
                "described": recipe.describe(),
                "fingerprint": recipe.fingerprint(),
                "proposed": proposal.proposed,
                "seeds": dataclasses.asdict(seeds),
                "known": proposal.known,
            },
            screened=proposal.candidate.reason,
        )
        if added != number:
            raise Mistake(
                f"another driver, of another workspace, writes to the study {self._study.name!r}; end one of them"
            )
        self._proposals.accepted(number, proposal.token)
        return seeds

    def _record_broken(self, broken: BrokenProposalError) -> None:
        """The user's own code raised on a proposal: a failed trial, unless it does so again and again."""
        self._broken_in_a_row += 1
        if self._broken_in_a_row > _FAILED_AT_FIRST:
            raise broken.error
        number = self._store.add(
            params=broken.params, distributions=broken.distributions, system_attrs={}, attrs={}, failed=str(broken)
        )
        self._counts["failed"] += 1
        if isinstance(broken.error, UserCodeError):
            self._log_trace(number, broken.error.trace)
        self._tell(TrialEnded(self._store.record(number)))

    def _submit(self, executor: Executor, number: int) -> None:
        running = self._running[number]
        done = running.state.epoch if running.state is not None else 0
        # a segment never crosses from the start into the distil stage: equal starts are to be shared there
        end = running.recipe.start_epochs if done < running.recipe.start_epochs else running.recipe.epochs
        segment = Segment(
            trial=number,
            recipe=running.recipe,
            seeds=running.seeds,
            state=running.state,
            upto=min(done + self._study.segment_epochs, end),
            objectives=self._study.objectives,
        )
        self._futures[executor.submit(segment)] = number

    def _settle(self, future: Future[Progress | Failed]) -> int | None:
        """Take in what a segment gave; gives the trial's number if there is more of it to train."""
        number = self._futures.pop(future)
        running = self._running[number]
        try:
            result = future.result()
        except LostError as error:
            running.lost += 1
            if running.lost <= _RETRIES:
                self._tell(Note(f"trial {number}: {error}; its segment will be run again"))
                return number
            self._fail(number, f"{error}, {running.lost} times with the same segment", "")
            return None
        if isinstance(result, Failed):
            self._fail(number, result.reason, result.trace)
            return None
        running.lost = 0
        running.state = result.state
        running.curve += result.curve
        if result.measured is not None:
            self._complete(number, running, result.measured)
            return None
        self._keep(number, running)
        return number

    def _keep(self, number: int, running: _Running) -> None:
        assert running.state is not None
        tensors, notes = running.state.pack()
        path = self._prepared.workspace.checkpoint(self._study.name, number)
        save_tensors(path, tensors, {"state": notes, "curve": running.curve, "trial": number})

    def _complete(self, number: int, running: _Running, measured: dict[str, float]) -> None:
        assert running.state is not None
        workspace, name = self._prepared.workspace, self._study.name
        notes = {"study": name, "trial": number, "fingerprint": running.recipe.fingerprint()}
        save_tensors(workspace.student(name, number), running.state.train.module, notes)
        measured = {**running.known, **measured}
        values = [measured[objective] for objective in self._study.objectives]
        self._store.complete(number, values, measured, running.curve)
        self._proposals.told(number, TrialState.COMPLETE, values)
        self._completed_here += 1
        self._end(number, "complete")

    def _fail(self, number: int, reason: str, trace: str) -> None:
        if trace:
            self._log_trace(number, trace)
        self._store.fail(number, reason, self._running[number].curve)
        self._proposals.told(number, TrialState.FAIL)
        self._failed_here += 1
        self._end(number, "failed")

    def _end(self, number: int, state: str) -> None:
        del self._running[number]
        self._prepared.workspace.checkpoint(self._study.name, number).unlink(missing_ok=True)
        self._counts["running"] -= 1
        self._counts[state] += 1
        self._tell(TrialEnded(self._store.record(number)))

    def _log_trace(self, number: int, trace: str) -> None:
        log = self._prepared.workspace.study(self._study.name) / "logs" / f"trial-{number:05d}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(trace, encoding="utf-8")
        self._tell(Note(f"trial {number} raised; its traceback is in {log}"))

    def _wind_down(self, executor: Executor) -> None:
        """Stopping: let running segments end after the epoch they are in, and keep their states."""
        if not self._futures:
            return
        executor.stop()
        self._tell(Note(f"stopping: {len(self._futures)} running trials are kept for the next run"))
        until = self._clock() + _GRACE_SECONDS
        while self._futures and (left := until - self._clock()) > 0:
            for future in executor.wait(self._futures, min(left, _POLL_SECONDS)):
                self._settle(future)
