"""Workers that only pretend to train: the executor's protocol on a clock that skips what nobody would be waiting for.

The driver that uses them is the real one, and the time that it takes itself passes as it does: only the wait for a
segment is skipped. So a driver that is too slow for its workers leaves them idle here too.
"""

import heapq
import math
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future

import torch

from kdsearch.events import TrialEpoch
from kdsearch.training import TrainState
from kdsearch.trial import Failed, Progress, Segment, TrialState

Under = Future[Progress | Failed]


class Clock:
    """The seconds that this thread has worked, real or of the processor's time alone, plus those skipped."""

    def __init__(self, *, processor: bool = False) -> None:
        self._now = time.thread_time if processor else time.perf_counter
        self._began = self._now()
        self._skipped = 0.0

    def __call__(self) -> float:
        return self.worked + self._skipped

    @property
    def worked(self) -> float:
        return self._now() - self._began

    def skip_to(self, moment: float) -> None:
        self._skipped += max(0.0, moment - self())


class Virtual:
    """An executor of `capacity` workers, each busy for `seconds` with every segment. `busy_seconds` adds them up."""

    def __init__(self, clock: Clock, capacity: int, seconds: Callable[[Segment], float]) -> None:
        self.capacity = capacity
        self.busy_seconds = 0.0
        self.segments = 0
        self._clock = clock
        self._seconds = seconds
        self._ends: list[tuple[float, int, Under, Segment]] = []
        self._events: list[TrialEpoch] = []

    def submit(self, segment: Segment) -> Under:
        future: Under = Future()
        seconds = self._seconds(segment)
        self.busy_seconds += seconds
        self.segments += 1
        heapq.heappush(self._ends, (self._clock() + seconds, self.segments, future, segment))
        return future

    def wait(self, under_way: Collection[Under], timeout: float) -> set[Under]:
        """Skips to the next end, however far it is: looking around in between would change nothing."""
        if self._ends:
            self._clock.skip_to(self._ends[0][0])
        done = set()
        while self._ends and self._ends[0][0] <= self._clock():
            _, _, future, segment = heapq.heappop(self._ends)
            progress = pretend(segment)
            self._events += [TrialEpoch(segment.trial, line) for line in progress.curve]
            future.set_result(progress)
            done.add(future)
        return done

    def events(self) -> list[TrialEpoch]:
        events, self._events = self._events, []
        return events

    def stop(self) -> None:
        pass

    def go_on(self) -> None:
        pass

    def running(self, future: Under) -> bool:
        """Nobody waits for a worker: there are as many as segments."""
        return True

    def abandon(self, future: Under) -> None:
        """None of them ever hangs."""

    def shutdown(self) -> None:
        pass


def pretend(segment: Segment) -> Progress:
    """What training the segment may have given: few weights, and a smooth curve that ends higher for a higher alpha."""
    recipe, done = segment.recipe, segment.state.epoch if segment.state is not None else 0
    best = 0.5 + 0.4 * recipe.distil.alpha + 0.02 * math.log(recipe.distil.temperature)
    curve = []
    for epoch in range(done, segment.upto):
        starting = epoch < recipe.start_epochs
        stage = recipe.start.name if starting and recipe.start is not None else recipe.distil.name
        line = {
            "stage": stage,
            "epoch": epoch + 1 - (0 if starting else recipe.start_epochs),
            "loss": 1 / (epoch + 1),
            "lr": recipe.optim.lr,
            "seconds": 1.0,
            "evaluation_seconds": 0.1,
            "validation_accuracy": best * (1 - math.exp(-(epoch + 1) / 5)),
            "at_ms": time.time_ns() // 1_000_000,
        }
        curve.append(line)
    state = TrialState(epoch=segment.upto, train=TrainState(epoch=0, module={"weight": torch.zeros(8)}, optimizer={}))
    measured = {"accuracy": curve[-1]["validation_accuracy"]} if segment.upto == recipe.epochs else None
    return Progress(trial=segment.trial, state=state, curve=curve, measured=measured)
