"""Who drives a study or wants to, as the database has it: running trials of the Optuna study `NAME/driver`."""

import os
import socket
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from kdsearch.database import Database
from kdsearch.legible import legible

_HOLDER, BEAT = "holder", "beat"
_PART = "the queue of drivers"


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


def queue_name(name: str) -> str:
    """The Optuna study in which drivers of the study `name` queue."""
    return f"{name}/driver"  # names of studies have no slash


def queue_of(storage: BaseStorage, name: str) -> int | None:
    """The id of the queue of the study `name`; None where nobody ever stood in it."""
    with legible(part=_PART):
        studies = {study.study_name: study._study_id for study in storage.get_all_studies()}
    return studies.get(queue_name(name))


def made_queue(database: Database, name: str) -> int:
    """The queue of the study `name`, by its id; made where there is none."""
    if (known := queue_of(database, name)) is not None:
        return known
    try:
        return database.create_new_study([StudyDirection.MAXIMIZE], queue_name(name))
    except DuplicatedStudyError:  # another driver, this very moment
        return database.get_study_id_from_name(queue_name(name))


def entry() -> FrozenTrial:
    """This process, as it stands in a queue."""
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    holder = {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid(), "since": now}
    return create_trial(state=TrialState.RUNNING, user_attrs={_HOLDER: holder, BEAT: [0, time.time()]})


def standing(storage: BaseStorage, queue: int) -> list[Holder]:
    """Those who hold the lease or wait for it, first come first."""
    found = []
    with legible(part=_PART):
        running = storage.get_all_trials(queue, deepcopy=False, states=(TrialState.RUNNING,))
        for trial in sorted(running, key=lambda one: one._trial_id):
            beat, beat_at = trial.user_attrs[BEAT]
            found.append(Holder(trial=trial._trial_id, **trial.user_attrs[_HOLDER], beat=beat, beat_at=beat_at))
    return found


def forget_queue(database: Database, name: str) -> None:
    """Remove the queue of a study that is gone, unless somebody stands in it."""
    if (queue := queue_of(database, name)) is not None and not standing(database, queue):
        database.delete_study(queue)


def _machine() -> str:
    """This boot of this machine and its table of processes, within which a process number means one process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""  # not on this system: whoever may be dead is watched
