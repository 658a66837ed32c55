"""There is one driver to a study: who holds it, and whether anybody does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kdsearch.files import writable
from kdsearch.mistakes import Mistake


@contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Hold the study's lock, which the operating system releases when this process ends, however it ends."""
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        # a moment's patience: `status` takes the lock for an instant to see whether a driver is alive
        with FileLock(folder / "driver.lock", timeout=2):
            yield
    except Timeout:
        raise Mistake(
            f"another run of the study {folder.name!r} is at work in {folder.parent}; wait for it or stop it"
        ) from None


def driven(folder: Path) -> bool:
    """Whether a driver is at work on the study in `folder`."""
    try:
        with FileLock(folder / "driver.lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # no such folder here: the database is shared, the workspace is another's
