"""Segments in the hands of an executor: how often one is tried, how long it may be silent. For all who drive one."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from kdsearch.events import Note, TrialEpoch
from kdsearch.executors import BlamelessError, Executor, LostError
from kdsearch.mistakes import Mistake
from kdsearch.trial import Failed, Progress, Segment

RETRIES = 2
"""How often a segment is tried again whose worker was lost with it."""
POLL_SECONDS = 0.2
_GRACE_SECONDS = 20.0
_GRACE_EPOCHS = 2


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The segment is to be submitted again."""

    reason: str


class Attempts:
    """Segments under way, by the number of their trial, of which each has one at a time.

    A segment that has ended no epoch for `stall_minutes` on `clock` (0: for however long) since a
    worker took it up is taken from that worker, which ends. Not to be used by several threads.
    """

    def __init__(self, executor: Executor, *, clock: Callable[[], float], stall_minutes: float) -> None:
        self._executor = executor
        self._clock = clock
        self._minutes = stall_minutes
        self._numbers: dict[Future[Progress | Failed], int] = {}
        self._heard: dict[int, float] = {}
        self._stalled: set[int] = set()
        self._lost: Counter[int] = Counter()
        self._longest_epoch = 0.0
        self._grace_until: float | None = None

    def __len__(self) -> int:
        """How many segments are under way."""
        return len(self._numbers)

    @property
    def grace_seconds(self) -> float:
        """How long segments that are asked to stop may take to end the epoch they are in."""
        return _GRACE_SECONDS + _GRACE_EPOCHS * self._longest_epoch

    def submit(self, segment: Segment) -> None:
        self._numbers[self._executor.submit(segment)] = segment.trial

    def outcomes(
        self, on_event: Callable[[TrialEpoch | Note], None], timeout: float = POLL_SECONDS
    ) -> Iterator[tuple[int, Progress | Failed | Lost]]:
        """What became of segments that are over, by their trials' numbers: as soon as there is one, or nothing after
        `timeout` seconds. Epochs are told before. `Failed` is also what was lost too often.

        Raises what keeps workers from working at all; the outcomes behind that come with the next call.
        """
        for future in self._done(on_event, timeout):
            yield self._outcome(future)
        self._end_stalled()

    def wind_down(
        self, on_event: Callable[[TrialEpoch | Note], None]
    ) -> Iterator[tuple[int, Progress | Failed | Lost]]:
        """Have all segments end after the epoch they are in; gives what comes of them within the grace.

        Nothing is under way after it. `Lost` is whatever did not come to the end of an epoch, and counts for nothing:
        also what a `Mistake` kept from it, and what needed longer. The grace of a call that was broken off goes on in
        the next, and what has ended by then is given however late that is.
        """
        if not self._numbers:
            return
        self._executor.stop()
        if self._grace_until is None:
            self._grace_until = self._clock() + self.grace_seconds
        while self._numbers:
            left = max(0.0, self._grace_until - self._clock())
            done = self._done(on_event, min(left, POLL_SECONDS))
            if not done and not left:
                break
            for future in done:
                number = self._numbers.pop(future)
                try:
                    outcome: Progress | Failed | Lost = future.result()
                except (Mistake, LostError) as error:
                    outcome = Lost(reason=str(error))
                yield number, outcome
        for future, number in list(self._numbers.items()):
            del self._numbers[future]
            self._executor.abandon(future)
            yield number, Lost(reason="the epoch it was in took too long to wait for, and is given up")

    def _done(
        self, on_event: Callable[[TrialEpoch | Note], None], timeout: float
    ) -> "Sequence[Future[Progress | Failed]]":
        """The segments that are over by now, by the numbers of their trials. Epochs are told before."""
        done = self._executor.wait(self._numbers, timeout)
        known = set(self._numbers.values())
        for event in self._executor.events():
            if isinstance(event, TrialEpoch):
                if event.trial not in known:
                    continue  # of a segment that was given up, in an earlier search with these workers
                seconds = event.line["seconds"] + event.line["evaluation_seconds"]
                self._longest_epoch = max(self._longest_epoch, seconds)
                self._heard[event.trial] = self._clock()
            on_event(event)
        return sorted(done, key=self._numbers.__getitem__)

    def _outcome(self, future: "Future[Progress | Failed]") -> tuple[int, Progress | Failed | Lost]:
        number = self._numbers.pop(future)
        self._heard.pop(number, None)
        stalled = number in self._stalled
        self._stalled.discard(number)
        try:
            result = future.result()
        except BlamelessError as error:
            return number, Lost(reason=str(error))
        except LostError as error:
            self._lost[number] += 1
            reason = f"made no progress in {self._minutes:g} minutes (--stall-minutes)" if stalled else str(error)
            if self._lost[number] <= RETRIES:
                return number, Lost(reason=reason)
            often = f"{self._lost.pop(number)} times with the same segment"
            way_out = "; give it more --stall-minutes where an epoch takes so long" if stalled else ""
            return number, Failed(trial=number, reason=f"{reason}, {often}{way_out}", trace="")
        self._lost.pop(number, None)
        return number, result

    def _end_stalled(self) -> None:
        if not self._minutes:
            return
        now = self._clock()
        for future, number in self._numbers.items():
            if not self._executor.running(future):
                continue
            if now - self._heard.setdefault(number, now) > self._minutes * 60:
                self._stalled.add(number)
                self._heard[number] = now  # and again after that, if it did not end
                self._executor.abandon(future)
