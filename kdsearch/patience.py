"""Waiting for a database that is away, with back-off, rather than losing a search to it."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from kdsearch.mistakes import Mistake

_Answer = TypeVar("_Answer")

_LONGEST_SECONDS = 60.0
_LOOK_SECONDS = 0.2


class AwayError(Exception):
    """The database gave no answer, which may change: whether it has done what it was asked is not known."""


class UnansweredError(Mistake):
    """The database was away for longer than patience lasts, or while the user asked to stop."""


def _nobody(_text: str, _warning: bool) -> None:
    pass


@dataclass
class Patience:
    """Asks again for `seconds` where the database is away: once at once, for that mends a connection that was cut,
    then after 1, 2, 4 ... and at most 60 seconds. `tell` gets a line and whether it is a warning; `stopping` is asked
    several times a second. It gives up for good: what is asked later is not waited for.
    """

    seconds: float = 0.0
    tell: Callable[[str, bool], None] = _nobody
    stopping: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _given_up: bool = field(default=False, init=False)

    def __call__(self, name: str, ask: Callable[[bool], _Answer]) -> _Answer:
        """What `ask` gives, which is told whether it is asked again, after an `AwayError`. Raises `UnansweredError`;
        `name` says of which database.
        """
        try:
            return ask(False)
        except AwayError:
            began = self.clock()
        told = False
        for delay in _delays():
            try:
                answer = ask(True)
            except AwayError as error:
                reason = str(error)
            else:
                if told:
                    self.tell(f"the database {name} answers again", False)
                return answer
            self._go_on_or_give_up(name, reason, self.clock() - began)
            self.tell(f"the database {name} does not answer ({reason}); trying again in {delay:g} s", True)
            told = True
            self._wait(delay)
        raise AssertionError("delays do not end")

    def _go_on_or_give_up(self, name: str, reason: str, waited: float) -> None:
        if not (self._given_up or waited >= self.seconds or self.stopping()):
            return
        self._given_up = True
        since = f" for {waited:.0f} s" if waited >= 1 else ""
        raise UnansweredError(
            f"the database {name} has not answered{since} ({reason}); everything finished is kept, and the same "
            "command goes on from there once it is back"
        )

    def _wait(self, seconds: float) -> None:
        until = self.clock() + seconds
        while (left := until - self.clock()) > 0 and not self.stopping():
            self.sleep(min(left, _LOOK_SECONDS))


def _delays() -> Iterator[float]:
    return (min(2.0**doubled, _LONGEST_SECONDS) for doubled in itertools.chain(range(7), itertools.repeat(7)))
