"""Arrays that several processes keep in one folder: each written once, checksummed, memory-mapped, removed for space.

Shape letters: none; an array is whatever its maker says. Left out: file systems shared by several machines on which a
file that one machine removes is lost to another that has it mapped.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from kdsearch.files import DISK_TROUBLE, DamagedError, file_sha256, read_note, write_atomically, write_note
from kdsearch.mistakes import DiskError


@dataclass(frozen=True, kw_only=True)
class Content:
    """An array that can be made: `parts` gives it from its first row on; `note`, called after that, what stands about
    it in the JSON file beside it.
    """

    shape: tuple[int, ...]
    dtype: DTypeLike
    parts: Callable[[], Iterator[NDArray[Any]]]
    note: Callable[[], dict[str, Any]]

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


class SignalFiles:
    """The arrays in `folder`, at most `limit_bytes` together as far as some of them may be removed.

    Whichever process needs an array first makes it; the others wait on its file lock, which the operating system
    releases if that process dies, and then take over. `notes` collects what is worth telling the user.
    """

    def __init__(self, folder: Path, limit_bytes: float) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.notes: list[str] = []
        self._mapped: dict[str, tuple[int, Tensor]] = {}  # by stem: the file's inode, which tells a newer file, and it

    def array(self, stem: str, content: Callable[[], Content]) -> Tensor:
        """The array of that name, mapped copy-on-write; `content` is asked for only where the file has to be made.

        A file's checksum is verified once in a process. One that is truncated or altered is made again, with a note.
        Raises `DiskError` where the disk is full, and leaves nothing half-written then.
        """
        path = self.folder / f"{stem}.npy"
        self._let_go()
        while True:
            found = self._known(stem, path)
            if found is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                with FileLock(self.folder / f"{stem}.lock"):
                    if not self._whole(path):
                        self._write(path, content())
            try:
                if found is None:
                    inode = path.stat().st_ino
                    # copy-on-write: torch wants a writable array, and a stray write must not reach the file
                    found = torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
                    self._mapped[stem] = (inode, found)
                os.utime(path)  # the least recently used are removed first
            except FileNotFoundError:
                self._mapped.pop(stem, None)  # removed for space by another process since: once more
                continue
            except ValueError:  # its checksum fits, but it holds Python objects, or no array: somebody put it there
                self._remove_damaged(path)
                continue
            return found

    def note(self, stem: str) -> dict[str, Any] | None:
        """What stands in the JSON file beside the array; None where there is none, or a damaged one."""
        try:
            return read_note(self._note_of(self.folder / f"{stem}.npy"))
        except (FileNotFoundError, DamagedError):
            return None

    def say_once(self, text: str) -> None:
        """Note `text`, unless this or any other process has noted the same of this folder before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            (self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.said").touch(exist_ok=False)
        except FileExistsError:
            return
        self.notes.append(text)

    def _known(self, stem: str, path: Path) -> Tensor | None:
        inode, tensor = self._mapped.get(stem, (None, None))
        try:
            return tensor if path.stat().st_ino == inode else None
        except FileNotFoundError:
            return None

    def _let_go(self) -> None:
        """Drop what has been removed for space: the disk has its place back only when nobody maps it any more."""
        self._mapped = {stem: held for stem, held in self._mapped.items() if (self.folder / f"{stem}.npy").exists()}

    def _whole(self, path: Path) -> bool:
        """Whether the file is there and what its writer wrote; a damaged one is removed, with a note."""
        if not path.exists():
            return False
        note = self.note(path.stem)
        try:
            if note is not None and note.get("sha256") == file_sha256(path):
                return True
        except FileNotFoundError:
            return False
        self._remove_damaged(path)
        return False

    def _remove_damaged(self, path: Path) -> None:
        self.notes.append(f"the teacher's signals in {path} were truncated or altered: they are computed again")
        path.unlink(missing_ok=True)

    def _write(self, path: Path, content: Content) -> None:
        for left in self.folder.glob(f".{path.stem}.*"):
            left.unlink(missing_ok=True)  # of a writer that died: its lock is ours now

        def fill(temporary: Path) -> None:
            # sequential writes: on a full disk they raise, where a memory map would kill the process
            with temporary.open("r+b") as file:
                sha256 = self._stream(file, content)
            # first the note, then the array takes its name: an array without a note is a damaged one
            write_note(self._note_of(path), {**content.note(), "sha256": sha256})

        try:
            write_atomically(path, fill)
        except OSError as error:
            if error.errno not in DISK_TROUBLE:
                raise
            raise DiskError(
                f"no room for {content.size_bytes / 1e6:,.1f} MB of the teacher's signals in {self.folder} "
                f"({error.strerror}); free some, name another --workspace, or lower the study's signals_gb, which has "
                "features that do not fit computed in every step"
            ) from None

    def _stream(self, file: BinaryIO, content: Content) -> str:
        head = io.BytesIO()
        descr = np.lib.format.dtype_to_descr(np.dtype(content.dtype))
        np.lib.format.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": content.shape})
        sha256 = hashlib.sha256(head.getvalue())
        self._make_room(file, len(head.getvalue()) + content.size_bytes)
        file.write(head.getvalue())
        for part in content.parts():
            data = np.ascontiguousarray(part, dtype=content.dtype).tobytes()
            file.write(data)
            sha256.update(data)
        return sha256.hexdigest()

    def _make_room(self, file: BinaryIO, size_bytes: int) -> None:
        """Remove the least recently used features until `size_bytes` more fit, and reserve them for `file`."""
        with FileLock(self.folder / "room.lock"):
            used = space_bytes(self.folder) + size_bytes
            for oldest in sorted(self.folder.glob("features-*.npy"), key=_last_used):
                if used <= self.limit_bytes:
                    break
                used -= oldest.stat().st_size
                oldest.unlink()
                self._note_of(oldest).unlink(missing_ok=True)
            file.truncate(size_bytes)  # others who make room see what this one is going to take
        if used > self.limit_bytes:
            self.say_once(
                f"the signals in {self.folder} take more than the {self.limit_bytes / 1e9:.3g} GB of signals_gb: the "
                "logits of every augmentation tried are kept"
            )

    @staticmethod
    def _note_of(path: Path) -> Path:
        return path.with_suffix(".json")


def space_bytes(folder: Path) -> int:
    """What all signals in `folder` take on the disk, those included that are being written; 0 where there is none."""
    if not folder.is_dir():
        return 0
    return sum(size for path in folder.iterdir() if ".npy" in path.name and (size := _size(path)))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
