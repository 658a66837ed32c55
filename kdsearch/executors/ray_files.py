"""A study's files in Ray's object store, for machines that do not see its folder: read-only for them, but for signals
that they compute themselves.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import ray
from filelock import FileLock

from kdsearch.data.kept import load_data
from kdsearch.executors.base import Job
from kdsearch.files import DamagedError, write_atomically
from kdsearch.mistakes import Mistake

_FOLDERS = ("data", "teacher", "signals")


class OutOfSightError(Exception):
    """The worker's machine does not see the study's folder."""


class StoredFiles:
    """What workers read of a study's folder: put into the store when it is first needed, and what is new since then
    with each further segment that needs it. The store keeps it for as long as this object lives.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[tuple[int, int], Any]] = {}

    def refs(self) -> dict[str, Any]:
        """Paths relative to the folder, and references to their bytes: in lists, so that Ray fetches none of them
        before it is asked for.
        """
        found: dict[str, Any] = {}
        for name in _FOLDERS:
            for path in sorted((self._folder / name).rglob("*")):
                if path.is_file() and not path.name.startswith(".") and path.suffix != ".lock":
                    key = path.relative_to(self._folder).as_posix()
                    found[key] = [self._ref(key, path)]
        return found

    def _ref(self, key: str, path: Path) -> Any:
        state = (path.stat().st_mtime_ns, path.stat().st_size)
        if key not in self._known or self._known[key][0] != state:
            self._known[key] = (state, ray.put(np.fromfile(path, dtype=np.uint8)))
        return self._known[key][1]


def folder_here(job: Job, files: dict[str, Any]) -> Path:
    """The study's folder where this machine sees it; with `files`, a copy of them, which the machine's workers share.

    Raises `OutOfSightError` where it does not see it, and has no `files`.
    """
    if not files:
        try:
            load_data(job.folder / "data", job.data_fingerprint)  # a folder of that name may be another's
        except (FileNotFoundError, DamagedError):
            raise OutOfSightError from None
        return job.folder
    copy = Path(tempfile.gettempdir()) / f"kdsearch-{os.getuid()}-{job.data_fingerprint[:16]}-{job.teacher_key[:16]}"
    copy.mkdir(mode=0o700, exist_ok=True)
    if copy.is_symlink() or copy.stat().st_uid != os.getuid():
        raise Mistake(f"{copy} is not this user's own folder; remove it on {os.uname().nodename}")
    with FileLock(copy / "copy.lock"):
        for name, (ref,) in files.items():
            path = copy / name
            if not path.resolve().is_relative_to(copy.resolve()):
                raise Mistake(f"a file of the study would leave its folder: {name!r}")
            if not path.exists():
                write_atomically(path, ray.get(ref).tofile)
    return copy
