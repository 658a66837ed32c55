"""The lease on a study among machines that share only its database.

Drivers queue: each adds a running trial to the Optuna study `NAME/driver`, and the lowest that runs holds the lease.
The database gives these numbers, one to a driver. The holder counts up a beat. Who comes later watches it, by its own
clock alone: a beat that moves belongs to a driver that lives, and one that has stood still for long enough, while
somebody was watching, to a dead one, which is then ended. Its own writes fail from then on
(`Database.write_only_while`), should it only have slept. Wrong clocks and jumps of time do no harm.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from kdsearch.database import Database, UsurpedError
from kdsearch.lease import driven, only_driver
from kdsearch.mistakes import Mistake
from kdsearch.patience import UnansweredError

_HOLDER, _BEAT = "holder", "beat"
_SHOWN_ALIVE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """Seconds between two beats, between two looks at them, and of silence after which a driver counts as dead."""

    beat_seconds: float = 3.0
    look_seconds: float = 1.0
    dead_after_seconds: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A driver in the queue. `trial` is its place; `beat` counts up while it lives, `beat_at` is by its own clock."""

    trial: int
    host: str
    machine: str
    pid: int
    since: str
    beat: int
    beat_at: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    @property
    def gone(self) -> bool:
        """Whether it was a process of this machine that is no more."""
        if not self.machine or self.machine != _machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class Watch:
    """What is known of one holder from looking at its beat again and again."""

    def __init__(self, rhythm: Rhythm) -> None:
        self._rhythm = rhythm
        self._beat: int | None = None
        self._seen = 0.0
        self._quiet_seconds = 0.0

    def saw(self, beat: int, now: float) -> Literal["alive", "dead", "unsure"]:
        """`now` is the watcher's clock, in seconds. A long time between two looks does not count: the watcher slept, or
        the database was away, and nobody could be heard.
        """
        if self._beat is None:
            self._beat, self._seen = beat, now
            return "unsure"
        if beat != self._beat:
            return "alive"
        between, self._seen = now - self._seen, now
        if 0 <= between <= 3 * self._rhythm.look_seconds:
            self._quiet_seconds += between
        return "dead" if self._quiet_seconds >= self._rhythm.dead_after_seconds else "unsure"


class Lease:
    """One driver's place in the queue for a study."""

    def __init__(self, database: Database, study: int, name: str, rhythm: Rhythm) -> None:
        self._database = database
        self._quick = database.impatient()
        self._study = study
        self._name = name
        self._rhythm = rhythm
        self._ended = threading.Event()
        self._lost = threading.Event()
        self._trial = database.create_new_trial(study, template_trial=_entry())
        self._thread = threading.Thread(target=self._beats, name="lease", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether another driver has taken the study over."""
        return self._lost.is_set()

    def check(self) -> None:
        """Raise `UsurpedError` where the lease is lost."""
        if self.lost:
            raise UsurpedError(f"another run has taken the study {self._name!r} over; this one ends here")

    def begin(self) -> None:
        self._thread.start()

    def wait_for_turn(self, tell: Callable[[str], None], stopping: Callable[[], bool]) -> None:
        """Come back as the holder. Raises `Mistake` where somebody before us lives, or if asked to stop meanwhile."""
        watches: dict[int, Watch] = {}
        while before := [holder for holder in _queue(self._database, self._study) if holder.trial < self._trial]:
            for holder in before:
                if holder.trial not in watches and not holder.gone:
                    watches[holder.trial] = Watch(self._rhythm)
                    longest = self._rhythm.dead_after_seconds
                    tell(f"this study was driven by {holder}; looking for up to {longest:g} s whether it lives")
                seen = "dead" if holder.gone else watches[holder.trial].saw(holder.beat, time.monotonic())
                if seen == "alive":
                    raise Mistake(
                        f"another run of the study {self._name!r} is at work: {holder}; wait for it or stop it"
                    )
                if seen == "dead":
                    with suppress(UpdateFinishedTrialError):  # it has just ended by itself, or by another's hand
                        self._database.set_trial_state_values(holder.trial, TrialState.FAIL)
                    tell(f"taking over from {holder}, which is dead")
            if stopping():
                raise Mistake("stopped while looking whether another run lives; nothing was begun")
            time.sleep(self._rhythm.look_seconds)
        self._database.write_only_while(self._trial)

    def end(self) -> None:
        """Give the place up."""
        self._ended.set()
        self._thread.join()
        self._database.write_only_while(None)
        with suppress(UpdateFinishedTrialError, UnansweredError):  # whoever comes next finds out
            self._quick.set_trial_state_values(self._trial, TrialState.COMPLETE, [0.0])

    def _beats(self) -> None:
        beat = 0
        while not self._ended.wait(self._rhythm.beat_seconds):
            beat += 1
            try:
                self._quick.set_trial_user_attr(self._trial, _BEAT, [beat, time.time()])
            except (UpdateFinishedTrialError, UsurpedError):
                self._lost.set()
                break
            except UnansweredError:
                continue  # nobody else hears of us meanwhile, nor takes over
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
    lease = Lease(database, _study(database, name), name, rhythm or Rhythm())
    lease.begin()
    try:
        lease.wait_for_turn(tell, stopping)
        yield lease
    finally:
        lease.end()


def holder_of(storage: BaseStorage, name: str) -> Holder | None:
    """Who drives the study, to be shown: by the holder's own clock, so one of a wrong clock is not seen."""
    studies = {study.study_name: study._study_id for study in storage.get_all_studies()}
    if (study := studies.get(_queue_name(name))) is None:
        return None
    alive = [one for one in _queue(storage, study) if not one.gone]
    return next((one for one in alive if abs(time.time() - one.beat_at) < _SHOWN_ALIVE_SECONDS), None)


@contextmanager
def alone(storage: BaseStorage, folder: Path) -> Iterator[None]:
    """Keep drivers of this workspace off the study in `folder`. Raises `Mistake` where one is at work, here or, where
    only the database is shared, elsewhere.
    """
    with only_driver(folder):
        if (holder := holder_of(storage, folder.name)) is not None:
            raise Mistake(f"a run of the study {folder.name!r} is at work: {holder}; wait for it or stop it")
        yield


def at_work(storage: BaseStorage, folder: Path) -> bool:
    """Whether a driver of this workspace or of another seems to be at work on the study in `folder`."""
    return driven(folder) or holder_of(storage, folder.name) is not None


def _queue_name(name: str) -> str:
    return f"{name}/driver"  # names of studies have no slash


def _study(database: Database, name: str) -> int:
    from optuna.exceptions import DuplicatedStudyError

    studies = {study.study_name: study._study_id for study in database.get_all_studies()}
    if (known := studies.get(_queue_name(name))) is not None:
        return known
    try:
        return database.create_new_study([StudyDirection.MAXIMIZE], _queue_name(name))
    except DuplicatedStudyError:  # another driver, this very moment
        return database.get_study_id_from_name(_queue_name(name))


def _entry() -> Any:
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    holder = {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid(), "since": now}
    return create_trial(state=TrialState.RUNNING, user_attrs={_HOLDER: holder, _BEAT: [0, time.time()]})


def _queue(storage: BaseStorage, study: int) -> list[Holder]:
    """Those who hold the lease or wait for it, first come first."""
    running = storage.get_all_trials(study, deepcopy=False, states=(TrialState.RUNNING,))
    found = []
    for trial in sorted(running, key=lambda one: one._trial_id):
        beat, beat_at = trial.user_attrs[_BEAT]
        found.append(Holder(trial=trial._trial_id, **trial.user_attrs[_HOLDER], beat=beat, beat_at=beat_at))
    return found


def _machine() -> str:
    """This boot of this machine and its table of processes, within which a process number means one process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""  # not on this system: whoever may be dead is watched
