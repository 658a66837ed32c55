"""Files that matter: written to a temporary name, flushed and renamed, so that a reader sees all of one or nothing."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from kdsearch.mistakes import DiskError
from kdsearch.plain import digest

DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""What the operating system says of a disk that is full, read-only or failing."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


_SUM = "sum"


class DamagedError(Exception):
    """A file is torn or altered. Who reads it recomputes what it held, or says that it cannot."""


@contextmanager
def writable(what: Path) -> Iterator[None]:
    """Turn a refusal by the file system into one clear message about `what`."""
    try:
        yield
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise DiskError(f"cannot write {what} ({error.strerror}); name a folder that you may write to") from None
    except OSError as error:
        if error.strerror is None or error.errno is None:
            raise
        remedy = f"; free some space on {what}, and the same command goes on" if error.errno in _FULL else ""
        raise DiskError(f"cannot write {what} ({error.strerror}){remedy}") from None


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Have `write` fill a temporary file beside `path`, flush it to the disk and rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Have the names in it on the disk too: a power cut could else take a rename back."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: void(temporary.write_text(text, encoding="utf-8")))


def write_note(path: Path, note: Mapping[str, Any]) -> None:
    """A JSON object with a checksum of its content."""
    write_text(path, json.dumps({**note, _SUM: _sum(note)}))


def read_note(path: Path) -> dict[str, Any]:
    """What `write_note` wrote; one without a checksum is of an older version, and taken as it stands: who reads it
    looks whether it says what it should. Raises `FileNotFoundError`, and `DamagedError` where it is torn or altered.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # bytes that are no UTF-8 are a ValueError
        found = None
    if not isinstance(found, dict):
        raise DamagedError(f"{path} is torn or altered: it holds no JSON object")
    if _SUM in found and found.pop(_SUM) != _sum(found):
        raise DamagedError(f"{path}: its checksum does not fit its content")
    return found


def _sum(note: Mapping[str, Any]) -> str:
    return digest(json.loads(json.dumps(dict(note))))


def void(_result: object) -> None:
    """For callbacks whose result does not matter."""


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Tensors and JSON-able notes as one safetensors file that carries a checksum of its content."""
    plain = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(dict(notes), sort_keys=True)
    content = save(plain, metadata={"notes": text, "sha256": tensors_sha256(plain, text)})
    write_atomically(path, lambda temporary: void(temporary.write_bytes(content)))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote. Raises `DamagedError` where the file is torn or its checksum does not fit."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DamagedError(f"{path}: {error}") from None
    text = metadata.get("notes", "")
    if metadata.get("sha256") != tensors_sha256(tensors, text):
        raise DamagedError(f"{path}: its checksum does not fit its content")
    try:
        notes = json.loads(text)
    except (ValueError, RecursionError):
        notes = None
    if not isinstance(notes, dict):
        raise DamagedError(f"{path}: its notes are none of ours")
    return tensors, notes


def tensors_sha256(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """SHA-256 in hexadecimal over names, dtypes, shapes and bytes: equal for what is equal to the bit, in any order and
    memory layout; `text` is part of it.
    """
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())  # NumPy has no bfloat16
    return digest.hexdigest()
