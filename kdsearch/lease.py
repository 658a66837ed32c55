"""There is one driver to a study in a workspace. Where only the database is shared: kdsearch/driving.py."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from kdsearch.files import writable
from kdsearch.mistakes import Mistake

_LOCK, _HOLDER = "driver.lock", "driver.txt"


@contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Hold the study's lock, which the operating system releases when this process ends, however it ends."""
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        # a moment's patience: `status` takes the lock for an instant to see whether a driver is alive
        with FileLock(folder / _LOCK, timeout=2):
            with writable(folder):
                (folder / _HOLDER).write_text(_myself(), encoding="utf-8")
            yield
    except Timeout:
        raise Mistake(
            f"another run of the study {folder.name!r} is at work in {folder.parent}{_holder(folder)}; "
            "wait for it or stop it"
        ) from None


def _myself() -> str:
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()}, since {now}"


def _holder(folder: Path) -> str:
    """Who says to hold the lock, in words."""
    try:
        return f" ({(folder / _HOLDER).read_text(encoding='utf-8')[:200]})"
    except (OSError, ValueError):
        return ""


def driven(folder: Path) -> bool:
    """Whether a driver is at work on the study in `folder`."""
    try:
        with FileLock(folder / _LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # no such folder here: the database is shared, the workspace is another's
