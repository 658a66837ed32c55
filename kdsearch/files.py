"""Files that matter: written to a temporary name, flushed and renamed, so that a reader sees all of one or nothing."""

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

from kdsearch.mistakes import Mistake


class DamagedError(Exception):
    """A file is torn or altered. Who reads it recomputes what it held, or says that it cannot."""


@contextmanager
def writable(what: Path) -> Iterator[None]:
    """Turn a refusal by the file system into one clear message about `what`."""
    try:
        yield
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise Mistake(f"cannot write {what} ({error.strerror}); name a folder that you may write to") from None
    except OSError as error:
        if error.strerror is None or error.errno is None:
            raise
        raise Mistake(f"cannot write {what} ({error.strerror})") from None


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
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: void(temporary.write_text(text, encoding="utf-8")))


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
