"""What all workers of a driver share: how much memory one may have, and how long none at all may be had."""

import threading
import time
from collections.abc import Callable

from kdsearch.mistakes import Mistake

_GROWN = 0.75
"""A worker above this share of its limit is replaced between two tasks, when that costs nothing but its start."""
_LONGEST_SECONDS = 30.0


class Memory:
    """How many bytes a worker may have for itself; `warn` gets a line, once, where that has a price."""

    def __init__(self, limit_bytes: float, warn: Callable[[str], None]) -> None:
        self._limit = limit_bytes
        self._warn = warn
        self._told = threading.Lock()

    def check_fresh(self, taken: float) -> None:
        """Raise `Mistake` where a worker has more than the limit before its first task."""
        if taken > self._limit:
            raise Mistake(
                f"--worker-memory of {_gb(self._limit)} is less than a worker has before its first segment, which is "
                f"{_gb(taken)}: allow more than that"
            )

    def exceeded(self, taken: float) -> str | None:
        """In words, where a worker that is at a task has more than it may."""
        if taken <= self._limit:
            return None
        return f"its worker took {_gb(taken)} of memory, more than the {_gb(self._limit)} that a worker may have"

    def outgrown(self, taken: float, *, tasks: int) -> bool:
        """Whether a worker is to be replaced that has done so many `tasks`."""
        if taken <= _GROWN * self._limit:
            return False
        if tasks == 1 and self._told.acquire(blocking=False):
            self._warn(
                f"a worker has {_gb(taken)} of memory after one segment, near --worker-memory of {_gb(self._limit)}: "
                "such workers are replaced after every segment, which costs a start each time; "
                f"{_gb(taken / _GROWN)} would spare that"
            )
        return True


class Shortage:
    """That the system starts no process for any worker. `anybody` says whether one lives."""

    def __init__(
        self,
        anybody: Callable[[], bool],
        patience_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._anybody = anybody
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._since: float | None = None
        self._closing = threading.Event()

    def met(self, error: OSError) -> None:
        """A worker could not be started. Raises `Mistake` where there has been none for too long."""
        now = self._clock()
        if self._since is None or self._anybody():
            self._since = now
        if now - self._since >= self._patience_seconds:
            raise Mistake(
                f"no worker process can be started ({error.strerror or error}), for {self._patience_seconds:g} s now; "
                "see the limits of this user (ulimit -u, -n, -v) and what memory is free, or take fewer --workers; "
                "everything finished is kept: run again"
            )

    def past(self) -> None:
        """A worker was started."""
        self._since = None

    def wait(self, tries: int) -> None:
        """Before the next of so many `tries`: 1, 2, 4 ... 30 seconds, or until it is all over."""
        self._closing.wait(min(2.0 ** (tries - 1), _LONGEST_SECONDS))

    def close(self) -> None:
        self._closing.set()


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"
