"""The lease on a study among machines that share only its database.

Drivers queue: each adds a running trial to the Optuna study `NAME/driver`, and the lowest that runs holds the lease.
The database gives these numbers, one to a driver. The holder counts up a beat. Who comes later watches it, by its own
clock alone: a beat that moves belongs to a driver that lives, and one that has stood still for long enough, while
somebody was watching, to a dead one, which is then ended. Its own writes fail from then on
(`Database.write_only_while`), should it only have slept. Whatever alters or removes a study queues likewise (`alone`),
so that no clock that is wrong or jumps has anybody write beside a driver that lives. What is only shown goes by the
holder's own clock (`holder_of`), and is wrong where that is.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from kdsearch.database import Database, UsurpedError
from kdsearch.files import void
from kdsearch.lease import AtWorkError, driven, only_driver
from kdsearch.mistakes import DiskError, Mistake
from kdsearch.patience import UnansweredError
from kdsearch.queueing import BEAT, Holder, entry, made_queue, queue_of, standing
from kdsearch.watching import Rhythm, Watch

_SHOWN_ALIVE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class _Look:
    """Who stands before us, and when the database was asked and answered, by our clock."""

    before: list[Holder]
    asked: float
    answered: float


class Lease:
    """One driver's place in the queue for a study."""

    def __init__(self, database: Database, queue: int, name: str, rhythm: Rhythm) -> None:
        self._database = database
        self._quick = database.impatient()
        self._queue = queue
        self._name = name
        self._rhythm = rhythm
        self._ended = threading.Event()
        self._lost = threading.Event()
        try:
            self._trial = database.create_new_trial(queue, template_trial=entry())
            self._claim = database.claim(self._trial)
        except KeyError:  # the study was deleted this very moment, and the queue with it
            raise UsurpedError from None
        self._thread = threading.Thread(target=self._beats, name="lease", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether another driver has taken the study over."""
        return self._lost.is_set()

    def check(self) -> None:
        """Raise `UsurpedError` where the lease is lost."""
        if self.lost:
            raise UsurpedError

    def begin(self) -> None:
        self._database.write_only_while(self._claim)
        self._thread.start()

    def wait_for_turn(self, tell: Callable[[str], None], stopping: Callable[[], bool]) -> None:
        """Come back as the holder. Raises `AtWorkError` where somebody before us lives, `Mistake` if asked to stop
        meanwhile.
        """
        watches: dict[int, Watch] = {}
        slow_at = time.monotonic() + 2 * self._rhythm.dead_after_seconds
        while (look := self._look()).before:
            for holder in look.before:
                self._judge(holder, look, watches, tell)
            if stopping():
                raise Mistake("stopped while looking whether another run lives; nothing was begun")
            if look.answered > slow_at:
                tell("still looking whether it lives: the database answers slowly")
                slow_at = math.inf
            time.sleep(self._rhythm.look_seconds)

    def _look(self) -> "_Look":
        asked = time.monotonic()
        before = [holder for holder in standing(self._database, self._queue) if holder.trial < self._trial]
        return _Look(before=before, asked=asked, answered=time.monotonic())

    def _judge(self, holder: Holder, look: "_Look", watches: dict[int, Watch], tell: Callable[[str], None]) -> None:
        """End one before us who is dead; raise `AtWorkError` for one who lives."""
        if holder.gone:
            seen = "dead"
        else:
            if holder.trial not in watches:
                watches[holder.trial] = Watch(self._rhythm)
                longest = self._rhythm.dead_after_seconds
                tell(f"this study was driven by {holder}; looking for up to {longest:g} s whether it lives")
            seen = watches[holder.trial].saw(holder.beat, asked=look.asked, answered=look.answered)
        if seen == "alive":
            raise AtWorkError(f"another run of the study {self._name!r} is at work: {holder}; wait for it or stop it")
        if seen == "dead":
            self._bury(holder)
            tell(f"taking over from {holder}, which is dead")

    def _bury(self, holder: Holder) -> None:
        with suppress(UpdateFinishedTrialError):  # it has just ended by itself, or by another's hand
            self._database.set_trial_state_values(holder.trial, TrialState.FAIL)

    def end(self) -> None:
        """Give the place up."""
        self._ended.set()
        self._thread.join()
        try:
            # whoever comes next finds out; or our place is gone, and its number may be another's by now
            with suppress(UpdateFinishedTrialError, UnansweredError, UsurpedError, DiskError):
                self._quick.set_trial_state_values(self._trial, TrialState.COMPLETE, [0.0])
        finally:
            self._database.write_only_while(None)

    def _beats(self) -> None:
        beat = 0
        while not self._ended.wait(self._rhythm.beat_seconds):
            beat += 1
            try:
                self._quick.set_trial_user_attr(self._trial, BEAT, [beat, time.time()])
            except (UpdateFinishedTrialError, UsurpedError):
                self._lost.set()
                break
            except (UnansweredError, DiskError):
                continue  # nobody else hears of us meanwhile, nor takes over; whoever writes results will say so
        self._quick.remove_session()


@contextmanager
def leased(
    database: Database,
    name: str,
    *,
    tell: Callable[[str], None],
    stopping: Callable[[], bool],
    rhythm: Rhythm | None = None,
) -> Iterator[Lease]:
    """Hold the lease on the study `name`. Raises `Mistake` where another driver holds it and lives."""
    lease = Lease(database, made_queue(database, name), name, rhythm or Rhythm())
    lease.begin()
    try:
        lease.wait_for_turn(tell, stopping)
        yield lease
    finally:
        lease.end()


def holder_of(storage: BaseStorage, name: str) -> Holder | None:
    """Who seems to drive the study, to be shown and for nothing else: by the holder's own clock, so that one of a wrong
    clock, or whose beats are late, is not seen.
    """
    if (queue := queue_of(storage, name)) is None:
        return None
    alive = [one for one in standing(storage, queue) if not one.gone]
    return next((one for one in alive if abs(time.time() - one.beat_at) < _SHOWN_ALIVE_SECONDS), None)


@contextmanager
def alone(
    database: Database, folder: Path, *, tell: Callable[[str], None] = void, rhythm: Rhythm | None = None
) -> Iterator[Lease]:
    """Hold the study in `folder` as its driver would: by the lock here, where there is a folder (none is made), and by
    the lease in the database, of which the study need not be there. Raises `AtWorkError` where somebody is at work,
    here or elsewhere, and `DiskError`.
    """
    with (
        only_driver(folder) if folder.is_dir() else nullcontext(),
        leased(database, folder.name, tell=tell, stopping=lambda: False, rhythm=rhythm) as lease,
    ):
        yield lease


def at_work(storage: BaseStorage, folder: Path) -> bool:
    """Whether a driver of this workspace or of another seems to be at work on the study in `folder`: for what is shown.
    Who alters anything has to be `alone`.
    """
    return driven(folder) or holder_of(storage, folder.name) is not None
