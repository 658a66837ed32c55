"""How often something costly is done beside other work."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Pace:
    """Grants the first time at once, then no more often than every `every_seconds`, and not while more than `share` of
    the time since the pace was made went into it.
    """

    def __init__(
        self, *, every_seconds: float = 30.0, share: float = 0.02, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._every_seconds = every_seconds
        self._share = share
        self._clock = clock
        self._began = clock()
        self._spent = 0.0
        self._last: float | None = None

    def due(self) -> bool:
        now = self._clock()
        if self._last is None:
            return True
        return now - self._last >= self._every_seconds and self._spent <= self._share * (now - self._began)

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Do it, and count what it takes; a failure counts as done."""
        began = self._clock()
        try:
            yield
        finally:
            self._last = self._clock()
            self._spent += self._last - began
