"""There is one driver to a study in a workspace. Where only the database is shared: kdsearch/driving.py."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from kdsearch.files import writable
from kdsearch.mistakes import Mistake

LOCK, HOLDER = "driver.lock", "driver.txt"


class AtWorkError(Mistake):
    """Somebody else is at work on the study, and lives."""


@contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Hold the study's lock, which the operating system releases when this process ends, however it ends. Raises
    `AtWorkError`, and `DiskError` where a lock cannot be had.
    """
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # a moment's patience: `status` takes the lock for an instant to see whether a driver is alive
    lock = FileLock(folder / LOCK, timeout=2)
    try:
        with writable(folder):
            lock.acquire()
    except Timeout:
        raise AtWorkError(
            f"another run of the study {folder.name!r} is at work in {folder.parent}{_holder(folder)}; "
            "wait for it or stop it"
        ) from None
    try:
        with writable(folder):
            (folder / HOLDER).write_text(_myself(), encoding="utf-8")
        yield
    finally:
        lock.release()


def _myself() -> str:
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()}, since {now}"


def _holder(folder: Path) -> str:
    """Who says to hold the lock, in words."""
    try:
        return f" ({(folder / HOLDER).read_text(encoding='utf-8')[:200]})"
    except (OSError, ValueError):
        return ""


def driven(folder: Path) -> bool:
    """Whether a driver is at work on the study in `folder`, as far as its lock says. A lock that cannot be asked counts
    as held; nobody drives what cannot be written.
    """
    try:
        (folder / LOCK).stat()
        with FileLock(folder / LOCK, timeout=0):
            return False
    except FileNotFoundError:
        return False  # there was none yet, or the database is shared and the workspace another's
    except OSError as error:  # a Timeout is one
        return error.errno != errno.EROFS
