"""What was read once at some cost, kept on disk as plain arrays: checksummed, memory-mapped, never unpickled.

The folder is KDSEARCH_CACHE, else `kdsearch` in XDG_CACHE_HOME or ~/.cache. Deleting it costs only time.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdsearch.files import DamagedError, file_sha256, writable, write_text
from kdsearch.plain import digest

_NOTE = "note.json"


@dataclass(frozen=True)
class Entry:
    """Arrays, memory-mapped copy-on-write, and what is to be known of them."""

    arrays: Mapping[str, Tensor]
    note: Mapping[str, Any]


def cache_folder() -> Path:
    """Where entries are kept; it need not exist yet."""
    chosen = os.environ.get("KDSEARCH_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kdsearch"


def cached(kind: str, content: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any]]) -> Entry:
    """The entry of that `content` (JSON-able: what it follows from), made by `make` where it is missing or torn.

    `make` writes NAME.npy files into the folder that it is given and returns the note. It runs once, however many
    processes ask. Raises `Mistake` where the cache cannot be written, and what `make` raises.
    """
    from filelock import FileLock

    root = cache_folder() / kind
    folder = root / digest(dict(content))
    with writable(root):
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{folder.name}.lock"):
            try:
                return _load(folder)
            except (FileNotFoundError, DamagedError):
                _make(folder, make)
    return _load(folder)


def nameless(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A writable tensor whose bytes are in a file of the cache folder that has no name and goes with the process."""
    root = cache_folder()
    with writable(root):
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as file:
            array = np.memmap(file, dtype=torch.empty(0, dtype=dtype).numpy().dtype, mode="w+", shape=shape)
            if hasattr(os, "posix_fallocate"):  # else a full disk would show as a bus error, when it is written to
                os.posix_fallocate(file.fileno(), 0, array.nbytes)
    return torch.from_numpy(array)


def _make(folder: Path, make: Callable[[Path], Mapping[str, Any]]) -> None:
    """In a folder beside, which takes the name when all is written and on the disk; the lock is held."""
    unfinished = folder.with_name(f"{folder.name}.part")
    for stale in (unfinished, folder):
        shutil.rmtree(stale, ignore_errors=True)
    unfinished.mkdir()
    try:
        note = make(unfinished)
        sums = {path.stem: _synced_sha256(path) for path in sorted(unfinished.glob("*.npy"))}
        write_text(unfinished / _NOTE, json.dumps({"note": dict(note), "sha256": sums, "sum": _sum(note)}))
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _load(folder: Path) -> Entry:
    text = (folder / _NOTE).read_text(encoding="utf-8")
    try:
        kept = json.loads(text)
        note, sums = kept["note"], kept["sha256"]
        if kept["sum"] != _sum(note):
            raise DamagedError(f"{folder / _NOTE} is altered")
        for name, expected in sums.items():
            if file_sha256(folder / f"{name}.npy") != expected:
                raise DamagedError(f"{folder / name}.npy is torn or altered")
        # copy-on-write: torch wants a writable array, and a stray write must not reach the file
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in sums}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{folder}: {error}") from None
    return Entry({name: torch.from_numpy(array) for name, array in arrays.items()}, note)


def _sum(note: Mapping[str, Any]) -> str:
    return digest({"note": json.loads(json.dumps(dict(note)))})


def _synced_sha256(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return file_sha256(path)
