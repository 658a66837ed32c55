"""Which of the workers trains what."""

from collections.abc import Hashable
from dataclasses import dataclass, replace

from kdsearch.training import Epoch


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a worker has: `epoch` of `epochs` are trained, the start's `start_epochs` among them; `stage` and
    `accuracy` (on the validation split) are the last line's, "" and None before there is one.
    """

    title: str
    student: str
    epochs: int
    start_epochs: int = 0
    epoch: int = 0
    stage: str = ""
    accuracy: float | None = None

    def after(self, line: Epoch) -> "Work":
        """Where a line of the curve leaves it: lines count the epochs of their own stage."""
        before = self.start_epochs if line["stage"] == "distil" else 0
        return replace(
            self, epoch=before + line["epoch"], stage=line["stage"], accuracy=line.get("validation_accuracy")
        )


class Slots:
    """Who of the workers has what. A worker is a number from 0: what is begun takes the lowest that is free."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._work: dict[int, tuple[Hashable, Work]] = {}

    def begin(self, key: Hashable, work: Work) -> None:
        """A worker has this now; the one that had it before, if any, goes on with it."""
        place = self._place(key)
        if place is None:
            place = next(number for number in range(len(self._work) + 1) if number not in self._work)
        self._work[place] = (key, work)

    def saw(self, key: Hashable, line: Epoch) -> None:
        """A line of the curve; one that comes late, when no worker has it any more, is nothing."""
        if (place := self._place(key)) is not None:
            self._work[place] = (key, self._work[place][1].after(line))

    def end(self, key: Hashable) -> None:
        if (place := self._place(key)) is not None:
            del self._work[place]

    def rows(self) -> list[Work | None]:
        """What each worker has, None for one that has nothing."""
        rows: list[Work | None] = [None] * max(self.workers, *(place + 1 for place in self._work), 0)
        for place, (_, work) in self._work.items():
            rows[place] = work
        return rows

    def _place(self, key: Hashable) -> int | None:
        return next((place for place, (held, _) in self._work.items() if held == key), None)
