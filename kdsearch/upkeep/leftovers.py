"""What killed processes and ended trials leave behind, found by age, by locks and by what the database says.

Whoever calls lists the files before reading the database: what comes to be meanwhile is then unknown to both, and no
orphan. Left out: what a live driver may still need, of which only checkpoints of trials that are over are none.
"""

import os
import re
import socket
import stat
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from kdsearch.ledger import Confirmed
from kdsearch.records import TrialRecord
from kdsearch.upkeep.shelf import Orphan, files_in, lies_still, temporary_files, trial_of, unfinished_folders

_DAY_SECONDS = 24 * 3600.0
_PRIVATE = re.compile(r"kdsearch-[a-z0-9_]{8}")
_EVENTS = "events"
"""The socket in such a folder of a driver of the version before, which this one has no need of."""
_SCRATCH = re.compile(r"kdsearch-int8-[a-z0-9_]{8}")
_ROWS = re.compile(r"kdsearch-archive-[a-z0-9_]{8}")
_COPY = re.compile(r"kdsearch-(\d+)-[0-9a-f]{16}-[0-9a-f]{16}")


def of_a_study(
    folder: Path,
    files: dict[str, list[Path]],
    records: Sequence[TrialRecord],
    confirmed: Confirmed,
    *,
    alive: bool,
    idle_seconds: float,
) -> Iterator[Orphan]:
    """Orphans among `files` (by kind, listed before `records` were read); `alive` says whether a driver is at work."""
    states = {record.number: record.state for record in records}
    for path in files["checkpoints"]:
        number = trial_of(path)
        state = states.get(number) if number is not None else None
        if state in ("complete", "failed", "screened"):
            yield Orphan(kind="checkpoints", path=path, why=f"trial {number} is {state}: nobody goes on from it")
        elif number is not None and state is None and not alive:
            yield Orphan(kind="checkpoints", path=path, why=f"there is no trial {number}")
    for path in files["students"]:
        number = trial_of(path)
        # of a running trial it is the first half of its end: the driver was killed before it told the database
        if number is not None and not alive and states.get(number) not in ("complete", "running"):
            yield Orphan(kind="students", path=path, why=f"there is no complete trial {number}")
    over = {f"{run.arm}-{run.seed}.safetensors" for run in confirmed.records if run.state == "complete"}
    for path in files["confirm"]:
        if path.name in over:
            yield Orphan(kind="confirm", path=path, why="its run on a fresh seed is over")
    yield from _signal_leavings(folder / "signals", files["signals"], alive)
    for path in temporary_files(folder):
        if lies_still(path, idle_seconds):
            yield Orphan(kind="temporary files", path=path, why="its writer has ended before it was whole")


def _signal_leavings(folder: Path, files: Sequence[Path], alive: bool) -> Iterator[Orphan]:
    """Notes and locks of arrays that are gone. A driver's workers may be about to write one."""
    if alive:
        return
    arrays = {path.stem for path in files if path.suffix == ".npy"}
    for path in files:
        if path.suffix in (".json", ".lock") and path.stem not in arrays and path.stem != "room":
            yield Orphan(kind="locks and notes", path=path, why=f"the signals {path.stem} are gone from {folder}")


def of_the_workspace(root: Path, idle_seconds: float) -> Iterator[Orphan]:
    """What a killed restore left in the workspace."""
    for path in unfinished_folders(root):
        if lies_still(path, idle_seconds):
            yield Orphan(kind="unfinished folders", path=path, why="a restore ended before it was whole")


def of_the_temporary_folder(idle_seconds: float) -> Iterator[Orphan]:
    """Folders of this user's killed drivers, exports and archives, and copies of studies that Ray's workers read a day
    ago.
    """
    place = Path(tempfile.gettempdir())
    for path in sorted(place.glob("kdsearch-*")):
        if not _own_folder(path):
            continue
        if _PRIVATE.fullmatch(path.name) and _left_by_driver(path, idle_seconds):
            yield Orphan(kind="temporary folder", path=path, why="its driver is dead")
        elif _SCRATCH.fullmatch(path.name) and lies_still(path, idle_seconds):
            yield Orphan(kind="temporary folder", path=path, why="its export is dead")
        elif _ROWS.fullmatch(path.name) and lies_still(path, _DAY_SECONDS):  # a large study is read for hours
            yield Orphan(kind="temporary folder", path=path, why="its archive is dead")
        elif _COPY.fullmatch(path.name) and (path / "copy.lock").exists() and _unread(path, _DAY_SECONDS):
            yield Orphan(kind="temporary folder", path=path, why="no Ray worker has read this copy for a day")


def _own_folder(path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _left_by_driver(folder: Path, idle_seconds: float) -> bool:
    """Whether nobody listens at the socket that a driver has there: the kernel refuses what is sent to a dead one's."""
    address = folder / _EVENTS
    try:
        if not address.exists():  # before it was made, or all but removed
            return lies_still(folder, idle_seconds) and not any(folder.iterdir())
        if not stat.S_ISSOCK(address.lstat().st_mode):
            return False  # somebody else's folder
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(str(address))
    except ConnectionRefusedError:
        return True
    except OSError:
        return False  # gone meanwhile, or not ours to judge
    return False


def _unread(folder: Path, seconds: float) -> bool:
    return all(lies_still(path, seconds) for path in folder.rglob("*"))


def listed(folder: Path, kinds: Collection[str]) -> dict[str, list[Path]]:
    return {kind: files_in(folder / kind) for kind in kinds}
