"""The faults: what each does to a search, and when it can be given."""

import contextlib
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from benchmarks.fault_search import Search, on_disk
from tests.damaged import DAMAGES

FILES = {
    "checkpoint": "checkpoints/*.safetensors",
    "start": "starts/*.safetensors",
    "signals": "signals/*",
    "teacher": "teacher/*",
    "data": "data/*",
    "student": "students/*.safetensors",
}


class Server(Protocol):
    def stop(self) -> None: ...
    def start(self) -> None: ...


@dataclass(kw_only=True)
class Ground:
    """What a search stands on that can go away: None is what there is not."""

    postgres: Server | None = None
    tracking: Server | None = None
    machines: Any = None
    disk: Path | None = None


Give = Callable[[Search, Ground], bool]
"""Gives the fault; False where it could not be given just then."""


@dataclass(frozen=True)
class Kind:
    """`weight` is how often it is given beside others; `needs` whether it makes sense for this search."""

    name: str
    weight: int
    give: Give
    needs: Callable[[Search, Ground], bool] = lambda *_: True
    begun: bool = True
    """Only while trials are trained, not while a driver starts."""
    costs_worker: bool = False


def _local(search: Search, _: Ground) -> bool:
    return search.engine == "local"


def _postgres(search: Search, ground: Ground) -> bool:
    return search.url is not None and ground.postgres is not None


def _sqlite(search: Search, _: Ground) -> bool:
    return search.url is None


# the driver


def _kill_driver(search: Search, _: Ground) -> bool:
    search.faulted("driver killed")
    search.kill_driver()
    return True


def _power_cut(search: Search, ground: Ground) -> bool:
    """All stands still, is copied as the disk has it, and dies; what was not flushed is torn. The copy goes on."""
    search.stop_all()
    copy = search.copy_workspace()
    search.faulted("power cut")
    search.kill_driver()
    if search.url is not None and ground.postgres is not None:
        ground.postgres.stop()
        ground.postgres.start()
    for path in copy.rglob("*"):
        if path.is_file() and path.name.startswith(".") and path.stat().st_size:
            DAMAGES["truncate" if path.stat().st_size > 1 else "empty"](path, search.chance.randrange(10**6))
    shutil.rmtree(search.workspace)
    search.move_to(copy)
    return True


def _sleeping_driver(search: Search, _: Ground) -> bool:
    """A driver stands still beyond its lease, another takes over in a copy of the workspace; the first awakes."""
    assert search.life is not None
    sleeper = search.life
    sleeper.signal(signal.SIGSTOP)
    search.listen()
    sleeper.hear_no_more()
    search.listen()
    copy = search.copy_workspace()
    search.faulted("driver asleep beyond its lease")
    search.others.append(sleeper)
    search.life = None
    search.move_to(copy)
    search.begin()
    until = time.monotonic() + 60
    while not search.account.began and search.life is not None and search.life.alive and time.monotonic() < until:
        search.waits(0.5)
    sleeper.signal(signal.SIGCONT)
    sleeper.process.join(60)
    search.said += sleeper.said
    if sleeper.alive:
        search.said += "Traceback: the driver that slept did not end\n"
        sleeper.kill()
    search.ended.append(f"asleep, {sleeper.status}: {sleeper.said.strip()[-200:]}")
    return True


def _move_clock(search: Search, _: Ground) -> bool:
    assert search.life is not None
    search.faulted("wall clock jumps")
    search.life.move_clock(search.chance.choice([-86400.0, -3600.0, 3600.0, 86400.0, 1e8]))
    return True


# workers


def _ordered(what: str, name: str) -> Give:
    def give(search: Search, _: Ground) -> bool:
        search.faulted(name)
        search.order(what)
        return True

    return give


def _kill_worker(search: Search, _: Ground) -> bool:
    assert search.life is not None
    workers = search.life.workers()
    if not workers:
        return False
    search.faulted("worker killed")
    search.ordered_losses += 1
    with contextlib.suppress(psutil.Error):
        search.chance.choice(workers).send_signal(search.chance.choice([signal.SIGKILL, signal.SIGSEGV]))
    return True


def _kill_machine(search: Search, ground: Ground) -> bool:
    search.faulted("Ray machine killed")
    search.ordered_losses += 1
    ground.machines.kill(search.chance.choice(ground.machines.workers))
    search.waits(search.chance.uniform(0, 4))
    ground.machines.add(cpus=1)
    return True


# databases and servers


def _away(of: Callable[[Ground], Server | None], name: str, seconds: float) -> Give:
    def give(search: Search, ground: Ground) -> bool:
        server = of(ground)
        assert server is not None
        search.faulted(name)
        server.stop()
        search.waits(search.chance.uniform(0, seconds))
        server.start()
        return True

    return give


def _lock_sqlite(search: Search, _: Ground) -> bool:
    database = search.workspace / "optuna.db"
    if not database.exists():
        return False
    with contextlib.closing(sqlite3.connect(database, timeout=5, isolation_level=None)) as connection:
        try:
            connection.execute("begin exclusive")
        except sqlite3.OperationalError:
            return False  # it was at work all the time
        search.faulted("SQLite locked")
        search.waits(search.chance.uniform(1, 8))
        connection.execute("rollback")
    return True


# the disk


def _damage(kind: str) -> Give:
    """A file is torn or altered: of a driver that runs, or of one that was killed before."""

    def give(search: Search, _: Ground) -> bool:
        found = sorted(path for path in search.study_folder.glob(FILES[kind]) if on_disk(path))
        if not found:
            return False
        path, how = search.chance.choice(found), search.chance.choice(sorted(DAMAGES))
        if search.chance.random() < 0.5:
            search.kill_driver()
        return _damaged(search, kind, path, how)

    return give


def _damaged(search: Search, kind: str, path: Path, how: str) -> bool:
    altered = path.with_name(f".{path.name}.altered")
    try:
        shutil.copy(path, altered)  # what has the file open has it whole, as from the system's cache
        DAMAGES[how](altered, search.chance.randrange(10**6))
        search.faulted(f"{kind} damaged")
        search.listen()
        if kind == "checkpoint":
            search.account.spoilt(int(path.stem.removeprefix("trial-")))
        if kind == "student":
            search.damaged_students.add(path.name)
        altered.replace(path)
    except (FileNotFoundError, ValueError):
        altered.unlink(missing_ok=True)
        return False  # its trial has ended meanwhile
    return True


def _fill_disk(search: Search, ground: Ground) -> bool:
    assert ground.disk is not None
    filler = ground.disk / "filler"
    search.faulted("disk full")
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 2**12):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    search.waits(search.chance.uniform(1, 6))
    filler.unlink()
    return True


KINDS = (
    Kind("driver killed", 8, _kill_driver, begun=False),
    Kind("power cut", 3, _power_cut),
    Kind("driver asleep beyond its lease", 2, _sleeping_driver, _postgres),
    Kind("wall clock jumps", 2, _move_clock),
    Kind("worker killed", 4, _kill_worker, _local, costs_worker=True),
    Kind("worker killed in training", 4, _ordered("kill", "worker killed in training"), costs_worker=True),
    Kind("worker's native code faults", 3, _ordered("fault", "worker's native code faults"), costs_worker=True),
    Kind("worker hangs", 1, _ordered("hang", "worker hangs"), costs_worker=True),
    Kind("worker above its memory", 2, _ordered("grow", "worker above its memory"), _local, costs_worker=True),
    Kind("Ray machine killed", 4, _kill_machine, lambda _, ground: ground.machines is not None, costs_worker=True),
    Kind("PostgreSQL restarted", 4, _away(lambda ground: ground.postgres, "PostgreSQL restarted", 0), _postgres),
    Kind("PostgreSQL away", 2, _away(lambda ground: ground.postgres, "PostgreSQL away", 5), _postgres),
    Kind("SQLite locked", 4, _lock_sqlite, _sqlite),
    Kind(
        "MLflow's server gone",
        1,
        _away(lambda ground: ground.tracking, "MLflow's server gone", 8),
        lambda _, ground: ground.tracking is not None,
    ),
    *(
        Kind(f"{kind} damaged", weight, _damage(kind))
        for kind, weight in (
            ("checkpoint", 4),
            ("start", 2),
            ("signals", 2),
            ("teacher", 1),
            ("data", 1),
            ("student", 2),
        )
    ),
    Kind("disk full", 3, _fill_disk, lambda _, ground: ground.disk is not None),
)
