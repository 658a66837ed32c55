"""Segments in the hands of an executor: how often one is tried, how long it may be silent. For all who drive one."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from kdsearch.events import Note, TrialEpoch
from kdsearch.executors import Executor, LostError, NotBegunError
from kdsearch.trial import Failed, Progress, Segment

RETRIES = 2
"""How often a segment is tried again whose worker was lost with it."""
POLL_SECONDS = 0.2
GRACE_SECONDS = 20.0
"""How long segments that were asked to stop may take to end the epoch they are in."""


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

    def __len__(self) -> int:
        """How many segments are under way."""
        return len(self._numbers)

    def submit(self, segment: Segment) -> None:
        self._numbers[self._executor.submit(segment)] = segment.trial

    def outcomes(
        self, on_event: Callable[[TrialEpoch | Note], None], timeout: float = POLL_SECONDS
    ) -> Iterator[tuple[int, Progress | Failed | Lost]]:
        """What became of segments that are over, by their trials' numbers: as soon as there is one, or nothing after
        `timeout` seconds. Epochs are told before. `Failed` is also what was lost too often.

        Raises what keeps workers from working at all; the outcomes behind that come with the next call.
        """
        done = self._executor.wait(self._numbers, timeout)
        for event in self._executor.events():
            if isinstance(event, TrialEpoch):
                self._heard[event.trial] = self._clock()
            on_event(event)
        for future in sorted(done, key=self._numbers.__getitem__):
            yield self._outcome(future)
        self._end_stalled()

    def wind_down(
        self, on_event: Callable[[TrialEpoch | Note], None]
    ) -> Iterator[tuple[int, Progress | Failed | Lost]]:
        """Have all segments end after the epoch they are in; gives what comes of them within the grace."""
        if not self._numbers:
            return
        self._executor.stop()
        until = self._clock() + GRACE_SECONDS
        while self._numbers and (left := until - self._clock()) > 0:
            yield from self.outcomes(on_event, min(left, POLL_SECONDS))

    def _outcome(self, future: "Future[Progress | Failed]") -> tuple[int, Progress | Failed | Lost]:
        number = self._numbers.pop(future)
        self._heard.pop(number, None)
        stalled = number in self._stalled
        self._stalled.discard(number)
        try:
            result = future.result()
        except NotBegunError as error:
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
