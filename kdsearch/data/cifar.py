"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from their binary files, or from the archives of these as downloaded.

A row is its labels (one byte; CIFAR-100's is two, coarse and fine) and 3,072 bytes: the red, green and blue planes of
32 rows of 32 pixels each.
"""

import os
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kdsearch.data.base import Data, data_folder
from kdsearch.data.parting import partition
from kdsearch.mistakes import Mistake

_PIXELS = 3 * 32 * 32
_EXAMPLES = 10_000
"""In CIFAR-10's each file, in CIFAR-100's test file, a fifth of those in its training file."""

Read = Callable[[str], bytes]


@dataclass(frozen=True, kw_only=True)
class _Files:
    folder: str
    archive: str
    pickled: tuple[str, str]
    """The folder and the archive of the python version."""
    train: tuple[str, ...]
    test: str
    label_bytes: int


_CIFAR10 = _Files(
    folder="cifar-10-batches-bin",
    archive="cifar-10-binary.tar.gz",
    pickled=("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    train=tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
    test="test_batch.bin",
    label_bytes=1,
)
_CIFAR100 = _Files(
    folder="cifar-100-binary",
    archive="cifar-100-binary.tar.gz",
    pickled=("cifar-100-python", "cifar-100-python.tar.gz"),
    train=("train.bin",),
    test="test.bin",
    label_bytes=2,
)


def cifar10(
    root: str | os.PathLike[str] | None = None, *, train: int | None = None, validation: int = 5_000, seed: int = 0
) -> Data:
    """CIFAR-10, inputs (N, 3, 32, 32) uint8, from `cifar-10-batches-bin` or `cifar-10-binary.tar.gz`.

    They are looked for in `root`, by default the data folder (`--data`, KDSEARCH_DATA), and in `cifar10` below it.
    `validation` examples are split off the 50,000, stratified, by `seed`; `train` keeps only so many of the others.
    Test is the 10,000. Nothing is unpickled: the python version of the files is refused.
    """
    return _load("cifar10", _CIFAR10, "batches.meta.txt", 0, 10, root, train, validation, seed)


def cifar100(
    root: str | os.PathLike[str] | None = None,
    *,
    coarse: bool = False,
    train: int | None = None,
    validation: int = 5_000,
    seed: int = 0,
) -> Data:
    """CIFAR-100 with its 100 fine classes, or with its 20 `coarse` ones, from `cifar-100-binary` or the `.tar.gz` of
    that name, looked for in `cifar100` as well; otherwise as `cifar10`.
    """
    if coarse:
        return _load("cifar100-coarse", _CIFAR100, "coarse_label_names.txt", 0, 20, root, train, validation, seed)
    return _load("cifar100", _CIFAR100, "fine_label_names.txt", 1, 100, root, train, validation, seed)


def _load(
    name: str,
    files: _Files,
    meta: str,
    column: int,
    classes: int,
    root: str | os.PathLike[str] | None,
    train: int | None,
    validation: int,
    seed: int,
) -> Data:
    read, where = _reader(files, data_folder(root), name.partition("-")[0])
    class_names = tuple(read(meta).decode(errors="replace").split())
    if len(class_names) != classes:
        raise Mistake(f"{where}/{meta} names {len(class_names)} classes, not {classes}; fetch the original again")
    examples = _EXAMPLES * 5 // len(files.train)
    rows = [_rows(read, where, file, examples, files.label_bytes) for file in files.train]
    rows.append(_rows(read, where, files.test, _EXAMPLES, files.label_bytes))
    inputs = torch.from_numpy(np.concatenate([part[:, files.label_bytes :] for part in rows]).reshape(-1, 3, 32, 32))
    labels = torch.from_numpy(np.concatenate([part[:, column] for part in rows]).astype(np.int64))
    if int(labels.max()) >= classes:
        raise Mistake(f"{where} is altered: it has label {int(labels.max())} of {classes}; fetch the original again")
    everything = torch.arange(len(labels))
    return partition(
        name,
        inputs,
        labels,
        {"train": everything[:-_EXAMPLES], "test": everything[-_EXAMPLES:]},
        train=train,
        validation=validation,
        test=_EXAMPLES,
        seed=seed,
        class_names=class_names,
    )


def _reader(files: _Files, base: Path, below: str) -> tuple[Read, Path]:
    """Reads a file of the data set by its name; and where it reads from."""
    folders = (base, base / below)
    found = next((folder / files.folder for folder in folders if (folder / files.folder).is_dir()), None)
    if base.name == files.folder:
        found = base
    if found is not None:
        return lambda file: _file(found, file), found
    archive = next((folder / files.archive for folder in folders if (folder / files.archive).is_file()), None)
    if archive is not None:
        return lambda file: _member(archive, f"{files.folder}/{file}"), archive
    pickled = [folder / name for folder in folders for name in files.pickled if (folder / name).exists()]
    if pickled:
        raise Mistake(
            f"{pickled[0]} is the python version, which can only be unpickled, and that runs code; fetch the binary "
            f"version, {files.archive}: kdsearch download {below}"
        )
    raise Mistake(
        f"{base} lacks {files.folder}/ and {files.archive} (looked in it and in {below} below it); name another folder "
        f"with --data, or fetch them: kdsearch download {below}"
    )


def _file(folder: Path, file: str) -> bytes:
    try:
        return (folder / file).read_bytes()
    except FileNotFoundError:
        raise Mistake(f"{folder} lacks {file}; fetch the original again") from None


def _member(archive: Path, name: str) -> bytes:
    try:
        with tarfile.open(archive, "r:gz") as packed:
            member = packed.extractfile(name)
            if member is None:
                raise KeyError(f"{name} is no file")
            return member.read()
    except KeyError:
        raise Mistake(f"{archive} lacks {name}; fetch the original again") from None
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise Mistake(f"{archive} is truncated or altered ({error}); fetch the original again") from None


def _rows(
    read: Read, where: Path, file: str, examples: int, label_bytes: int
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    content = read(file)
    expected = examples * (label_bytes + _PIXELS)
    if len(content) != expected:
        raise Mistake(
            f"{where}/{file} is truncated or altered: {len(content):,} bytes, the original has {expected:,}; fetch it "
            "again"
        )
    return np.frombuffer(content, np.uint8).reshape(examples, -1)
