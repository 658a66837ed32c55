"""What a user is told while all segments wait for a machine: else a search would stand still in silence."""

from collections.abc import Callable

from kdsearch.events import Note

_FIRST_SECONDS = 60.0
_AGAIN_SECONDS = 1800.0


class Waiting:
    """Says after a minute, and every half an hour from then on, that all segments wait. `room` gives how many the
    cluster's machines could have under way, `needs` is what one takes.
    """

    def __init__(self, needs: str, room: Callable[[], int], clock: Callable[[], float]) -> None:
        self._needs = needs
        self._room = room
        self._clock = clock
        self._next: float | None = None

    def notes(self, *, waiting: int, running: int) -> list[Note]:
        """To be asked every moment, with how many segments wait in Ray's queue and how many have a worker."""
        if running or not waiting:
            self._next = None
            return []
        now = self._clock()
        if self._next is None:
            self._next = now + _FIRST_SECONDS
        if now < self._next:
            return []
        self._next = now + _AGAIN_SECONDS
        if self._room():
            why = "the machines of the cluster have other work, or are still starting"
        else:
            why = f"no machine of the cluster has {self._needs}; they go on as soon as one comes"
        return [Note(f"{waiting} segments wait: {why}")]
