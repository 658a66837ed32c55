"""Where the seconds of a study went, and what early stopping, shared starts and signals saved of them."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from kdsearch.records import Session, TrialRecord
from kdsearch.trial import Progress


class Timesheet:
    """Adds up what the workers of one run did."""

    def __init__(self, workers: int, clock: Callable[[], float]) -> None:
        self._workers = workers
        self._clock = clock
        self._began = self._seen = clock()
        self._offered = 0.0
        self._began_ms = time.time_ns() // 1_000_000
        self._busy = 0.0
        self._student = 0.0
        self._epochs = 0

    def add(self, result: Progress) -> None:
        """Count a segment that a worker has finished."""
        self._busy += result.worked_seconds
        self._student += sum(line["seconds"] + line["evaluation_seconds"] for line in result.curve)
        self._student += result.measuring_seconds
        self._epochs += len(result.curve)

    def there_are(self, workers: int) -> None:
        """From now on there are so many workers."""
        now = self._clock()
        self._offered += (now - self._seen) * self._workers
        self._seen, self._workers = now, workers

    def session(self) -> Session | None:
        """The run up to now; None where nothing was trained."""
        if not self._epochs:
            return None
        self.there_are(self._workers)
        seconds = self._seen - self._began
        return Session(
            began_ms=self._began_ms,
            seconds=round(seconds, 3),
            workers=round(self._offered / seconds, 3) if seconds else self._workers,
            busy_seconds=round(self._busy, 3),
            student_seconds=round(self._student, 3),
            epochs=self._epochs,
        )


def account(records: Sequence[TrialRecord], sessions: Sequence[Session]) -> dict[str, Any]:
    """Where a study's time went, as plain values.

    `seconds` by what trials spent them on (complete, pruned and failed ones); `busy_share` of the workers' time in
    segments, `student_share` in training and evaluating students, None before the first run ended; `epochs_trained`;
    `epochs_saved` by early stopping (what pruned trials were not trained) and by shared starts; `teacher_passes_saved`:
    epochs in which the teacher would have run over the training set (recipes with a live teacher not counted; hints for
    whose features there was no room are).
    """
    spent: Counter[str] = Counter()
    for record in records:
        spent.update(record.spent)
    offered = sum(session.seconds * session.workers for session in sessions)
    shares = {
        "busy_share": sum(session.busy_seconds for session in sessions),
        "student_share": sum(session.student_seconds for session in sessions),
    }
    taken_up = {record.continues for record in records}
    return {
        "seconds": {name: round(seconds, 1) for name, seconds in sorted(spent.items())},
        **{name: round(seconds / offered, 4) if offered else None for name, seconds in shares.items()},
        "epochs_trained": sum(record.epochs_trained for record in records),
        "epochs_saved": {
            "early_stopping": sum(untrained_epochs(record) for record in records if record.number not in taken_up),
            "shared_starts": sum(shared_epochs(record) for record in records),
        },
        "teacher_passes_saved": sum(_taught(record) for record in records),
    }


def untrained_epochs(record: TrialRecord) -> int:
    """Epochs of its budget that a pruned trial was not trained; a later trial may go on with it, and then are."""
    return int(record.described["epochs"]) - len(record.curve) if record.state == "pruned" else 0


def shared_epochs(record: TrialRecord) -> int:
    """Epochs of a start that another trial had trained, once they are stored."""
    inherited = record.inherited
    return inherited.epochs if inherited is not None and inherited.kind == "start" and record.curve else 0


def _taught(record: TrialRecord) -> int:
    """Epochs that this trial itself trained with the teacher's signals."""
    if record.described.get("live_teacher"):
        return 0
    own = record.curve[len(record.curve) - record.epochs_trained :]
    return sum(line["stage"] != "pretrain" for line in own)
