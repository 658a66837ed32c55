"""Data on disk, so that many processes share one copy in memory and none has to read and split the source again."""

from pathlib import Path
from tokenize import TokenError  # of the header of an array, which NumPy reads as Python

import numpy as np
import torch
from torch import Tensor

from kdsearch.data.base import Data, Split
from kdsearch.files import DamagedError, read_note, write_atomically, write_note

_NOTE = "data.json"
_PARTS = ("inputs", "labels")


def keep_data(data: Data, folder: Path) -> str | None:
    """Write `data` to `folder`, unless it is there already, whole; gives what was wrong with what was there."""
    found = None
    try:
        load_data(folder, data.fingerprint)
    except (FileNotFoundError, DamagedError) as error:
        found = str(error) if isinstance(error, DamagedError) else None
        for name, split in data.splits().items():
            for part in _PARTS:
                _write(folder / f"{name}-{part}.npy", getattr(split, part))
        write_note(folder / _NOTE, _note(data))
    return found


def load_data(folder: Path, fingerprint: str) -> Data:
    """The data of that fingerprint, memory-mapped.

    Raises `FileNotFoundError`, and `DamagedError` where what is there is torn or other data.
    """
    try:
        note = read_note(folder / _NOTE)
        splits = {
            name: Split(**{part: _read(folder / f"{name}-{part}.npy") for part in _PARTS})
            for name in ("train", "validation", "test")
        }
        data = Data(
            name=note["name"],
            class_names=tuple(note["class_names"]),
            vocabulary=note.get("vocabulary"),
            train=splits["train"],
            validation=splits["validation"],
            test=splits["test"],
        )
    except KeyError as error:
        raise DamagedError(f"{folder}: its note lacks the data's {error}") from None
    except (ValueError, TypeError, EOFError, SyntaxError, TokenError) as error:  # a Mistake is a ValueError
        raise DamagedError(f"{folder}: {error}") from None
    if data.fingerprint != fingerprint:
        raise DamagedError(f"{folder}: its arrays are not those of {data.name} that were kept there")
    return data


def _note(data: Data) -> dict[str, object]:
    return {"name": data.name, "class_names": data.class_names, "vocabulary": data.vocabulary}


def _write(path: Path, array: Tensor) -> None:
    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:  # by its name, NumPy would add a suffix
            np.save(file, array.numpy(), allow_pickle=False)

    write_atomically(path, fill)


def _read(path: Path) -> Tensor:
    # copy-on-write: torch wants a writable array, and a stray write must not reach the file
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
