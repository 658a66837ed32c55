"""Whether somebody lives whose beat is looked at again and again, by the clock of who looks."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """Seconds between two beats, between two looks at them, and of silence after which a driver counts as dead."""

    beat_seconds: float = 3.0
    look_seconds: float = 1.0
    dead_after_seconds: float = 30.0


class Watch:
    """What is known of one holder from looking at its beat again and again."""

    def __init__(self, rhythm: Rhythm) -> None:
        self._rhythm = rhythm
        self._beat: int | None = None
        self._answered = 0.0
        self._quiet_seconds = 0.0

    def saw(self, beat: int, *, asked: float, answered: float) -> Literal["alive", "dead", "unsure"]:
        """The beat as the database gave it; when it was asked and when it answered, in seconds of the watcher's clock.
        What counts is the time from an answer to the next question, however slow the database is. If that is long it
        does not count: the watcher slept, or the database was away, and nobody could be heard.
        """
        if self._beat is None:
            self._beat, self._answered = beat, answered
            return "unsure"
        if beat != self._beat:
            return "alive"
        between, self._answered = asked - self._answered, answered
        if 0 <= between <= 3 * self._rhythm.look_seconds:
            self._quiet_seconds += between
        return "dead" if self._quiet_seconds >= self._rhythm.dead_after_seconds else "unsure"
