"""A study's files in Ray's object store, for machines that do not see its folder: read-only for them, but for signals
that they compute themselves.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import ray
from filelock import FileLock

from kdsearch.data.kept import load_data
from kdsearch.executors.base import Job
from kdsearch.files import DamagedError, file_sha256, void, write_atomically
from kdsearch.mistakes import Mistake

_FOLDERS = ("data", "teacher", "signals")
_SELF_CHECKED = "signals"
"""A machine may have computed these itself, and whoever reads them checks them, and computes anew what is damaged."""


class OutOfSightError(Exception):
    """The worker's machine does not see the study's folder."""


class UnfitError(Exception):
    """The worker's machine cannot hold or read the study's files, as others may; `node` is Ray's name of it."""

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(node, reason)
        self.node = node
        self.reason = reason


class StoredFiles:
    """What workers read of a study's folder: put into the store when it is first needed, and what is new since then
    with each further segment that needs it. The store keeps it for as long as this object lives.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[tuple[int, int], list[Any]]] = {}

    def refs(self) -> dict[str, Any]:
        """Paths relative to the folder, with the SHA-256 of their bytes and references to them: in lists, so that Ray
        fetches none of them before it is asked for.
        """
        found: dict[str, Any] = {}
        for name in _FOLDERS:
            for path in sorted((self._folder / name).rglob("*")):
                if path.is_file() and not path.name.startswith(".") and path.suffix != ".lock":
                    key = path.relative_to(self._folder).as_posix()
                    found[key] = self._stored(key, path)
        return found

    def _stored(self, key: str, path: Path) -> list[Any]:
        state = (path.stat().st_mtime_ns, path.stat().st_size)
        if key not in self._known or self._known[key][0] != state:
            content = np.fromfile(path, dtype=np.uint8)
            self._known[key] = (state, [hashlib.sha256(content.data).hexdigest(), ray.put(content)])
        return self._known[key][1]


def folder_here(job: Job, files: dict[str, Any]) -> Path:
    """The study's folder where this machine sees it; with `files`, a copy of them, which the machine's workers share:
    whole, each time that a process asks for it.

    Raises `OutOfSightError` where it does not see it, and has no `files`, and `OSError` where it has no space for them.
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
        for name, (sum_, ref) in files.items():
            path = copy / name
            if not path.resolve().is_relative_to(copy.resolve()):
                raise Mistake(f"a file of the study would leave its folder: {name!r}")
            if not path.exists() or (not name.startswith(_SELF_CHECKED) and file_sha256(path) != sum_):
                _write(path, ray.get(ref))
    return copy


def _write(path: Path, content: "np.ndarray[Any, np.dtype[np.uint8]]") -> None:
    write_atomically(path, lambda temporary: void(temporary.write_bytes(content.data)))
