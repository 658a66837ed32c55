"""Runs every segment in the driver's own process, one after the other: for tests, debuggers and exact repetition."""

from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, wait

from kdsearch.data.base import Data
from kdsearch.events import Note, TrialEpoch
from kdsearch.executors.base import run_segment
from kdsearch.mistakes import DiskError
from kdsearch.signals import Signals
from kdsearch.training import Epoch
from kdsearch.trial import Failed, Progress, Segment


class Inline:
    """An executor without workers: `submit` returns when the segment is done, or once `stopping` after an epoch."""

    def __init__(self, data: Data, signals: Signals, stopping: Callable[[], bool] = lambda: False) -> None:
        self.capacity = 1
        self._data = data
        self._signals = signals
        self._events: list[TrialEpoch | Note] = []
        self._asked = stopping
        self._stopping = False

    def submit(self, segment: Segment) -> "Future[Progress | Failed]":
        def on_epoch(line: Epoch) -> bool:
            self._events.append(TrialEpoch(segment.trial, line))
            return self._stopping or self._asked()

        future: Future[Progress | Failed] = Future()
        try:
            future.set_result(run_segment(segment, self._data, self._signals, on_epoch))
        except DiskError as error:
            future.set_exception(error)
        return future

    def wait(
        self, under_way: "Collection[Future[Progress | Failed]]", timeout: float
    ) -> "set[Future[Progress | Failed]]":
        return wait(under_way, timeout=timeout, return_when=FIRST_COMPLETED).done

    def events(self) -> list[TrialEpoch | Note]:
        events, self._events = self._events, []
        return events

    def stop(self) -> None:
        self._stopping = True

    def go_on(self) -> None:
        self._stopping = False

    def running(self, future: "Future[Progress | Failed]") -> bool:
        return True

    def abandon(self, future: "Future[Progress | Failed]") -> None:
        """Never asked for: a segment that is run here is over when `submit` returns."""

    def shutdown(self) -> None:
        pass
