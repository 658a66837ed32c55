"""What lies in a study's folder: files by kind, what their names say, and which of them nobody is writing."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdsearch.lease import HOLDER, LOCK
from kdsearch.owner import OWNER

KINDS = ("data", "teacher", "signals", "starts", "checkpoints", "students", "confirm", "anew", "logs")
"""The folders of a study (see `Workspace`)."""
IDLE_SECONDS = 3600.0
"""A file that was not written for so long is no live writer's: writing one takes seconds, of a large array minutes."""
FREED = "freed.json"
"""Beside the students: the trials whose weights `kdsearch gc` removed on request, which are not missing."""

SHARED = ("artifacts", "logs")
"""Folders of the workspace that all studies share."""

_TRIAL = re.compile(r"trial-(\d{5,})\.safetensors")
_MARKS = (OWNER, LOCK, HOLDER)
"""What makes a folder a study's: `data/` or `logs/` is in many that are not."""
_BY_MACOS = ".DS_Store"

_TEMPORARY = re.compile(r"\.(?P<target>.+)\.[a-z0-9_]{8}")  # as write_atomically names them
_UNFINISHED = re.compile(r"\.restored-[A-Za-z0-9._-]+-[a-z0-9_]{8}")


@dataclass(frozen=True, kw_only=True)
class Orphan:
    """A file or folder that belongs to nobody (any more): `why` in words."""

    kind: str
    path: Path
    why: str


def files_in(folder: Path) -> list[Path]:
    """The regular files of one of a study's folders by name, without hidden ones; none where it is not there."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def trial_of(path: Path) -> int | None:
    """The trial that a checkpoint or a student is of; None for any other name."""
    found = _TRIAL.fullmatch(path.name)
    return int(found[1]) if found else None


def temporary_files(folder: Path) -> list[Path]:
    """Files that their writers have not given their names yet, in the study's folders."""
    places = [folder, *(folder / kind for kind in KINDS)]
    found = (path for place in places if place.is_dir() for path in place.iterdir())
    return sorted(path for path in found if _TEMPORARY.fullmatch(path.name) and path.is_file())


def unfinished_folders(root: Path) -> list[Path]:
    """What a killed restore left in the workspace."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if _UNFINISHED.fullmatch(path.name) and path.is_dir())


def study_folders(root: Path) -> list[Path]:
    """Folders of the workspace that are studies: they hold one of a study's folders, one of its marks, and nothing
    foreign.
    """
    if not root.is_dir():
        return []
    candidates = (path for path in sorted(root.iterdir()) if path.is_dir() and _may_be_a_study(path.name))
    return [path for path in candidates if is_study_folder(path)]


def is_study_folder(path: Path) -> bool:
    begun = any((path / kind).is_dir() for kind in KINDS if kind != "logs")
    return begun and any((path / mark).is_file() for mark in _MARKS) and not foreign_in(path)


def foreign_in(folder: Path) -> list[str]:
    """What lies in a study's folder and is none of a study's, by name; nothing in a folder that is not there."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    own = (*KINDS, *_MARKS, _BY_MACOS)
    return [name for name in names if name not in own and not _TEMPORARY.fullmatch(name)]


def _may_be_a_study(name: str) -> bool:
    return not name.startswith(".") and name not in SHARED


def lies_still(path: Path, idle_seconds: float) -> bool:
    """Whether the file has not been written for so long; one that is gone meanwhile is somebody's."""
    try:
        return time.time() - path.stat().st_mtime >= idle_seconds
    except FileNotFoundError:
        return False


def beside_signals(array: Path) -> list[Path]:
    """What goes with an array of signals: its note and its lock."""
    return [array.with_suffix(suffix) for suffix in (".json", ".lock")]


def size_bytes(path: Path) -> int:
    """Of a file, or of all files below a folder; 0 for what is gone."""
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        return sum(size_bytes(inner) for inner in path.iterdir())
    except FileNotFoundError:
        return 0


def all_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every named file of a study with its kind."""
    for kind in KINDS:
        for path in files_in(folder / kind):
            yield kind, path
