"""Files to a student's inputs: pictures and arrays as the training data are stored. Nothing is unpickled.

Shape letters: B examples, C channels, H height, W width.
"""

import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdsearch.data.base import check_tokens
from kdsearch.decoder import UnreadableError, sized
from kdsearch.mistakes import Mistake

_ARRAYS = (".npy", ".npz")
_BRIGHT = 128
"""Bytes that reach it are taken for 0..255, whatever the brightest of the training data was."""
# what NumPy and zipfile raise for files that are cut off, altered, encrypted or packed in another way
_DAMAGE = (
    *(ValueError, TypeError, OSError, EOFError, KeyError, SyntaxError, OverflowError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)
_MOST_BYTES = 2**31
"""A larger array is taken for a bomb, or for more than one wants to try a student on."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a student takes: examples of `shape`, stored as `dtype` with values from `low` to `high`; token numbers
    below `vocabulary` where that is not None. `mean` and `std` broadcast against inputs (B, *shape).
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    low: float
    high: float
    mean: Tensor
    std: Tensor
    vocabulary: int | None

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "Taken":
        """From the `input` of a card. Raises `KeyError`, `TypeError` or `ValueError` where that is none."""
        dtype = getattr(torch, str(described["dtype"]), None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"{described['dtype']} is no type of numbers")
        return cls(
            shape=tuple(int(side) for side in described["shape"]),
            dtype=dtype,
            low=float(described["low"]),
            high=float(described["high"]),
            mean=torch.tensor(described["mean"], dtype=torch.float32),
            std=torch.tensor(described["std"], dtype=torch.float32),
            vocabulary=described["vocabulary"],
        )

    def stored(self, inputs_B: Tensor) -> Tensor:
        """Inputs in the training data's own type. Raises `Mistake` for numbers that it does not have."""
        stored = inputs_B.to(self.dtype)
        if not torch.equal(stored.to(inputs_B.dtype), inputs_B) and not self.dtype.is_floating_point:
            kind = str(self.dtype).removeprefix("torch.")
            raise Mistake(f"this student takes numbers of type {kind}, got others, such as fractions; convert them")
        return stored

    def normalized(self, inputs_B: Tensor) -> Tensor:
        """Inputs as the bare network takes them: float32, mean 0 and deviation 1 in training; tokens int64."""
        return inputs_B.long() if self.vocabulary is not None else (inputs_B.float() - self.mean) / self.std


@dataclass(frozen=True, kw_only=True)
class Examples:
    """`inputs` (B, ...) as the training data are stored. `several`: the file has a dimension of examples."""

    inputs: Tensor
    several: bool
    note: str = ""


def read(path: Path, taken: Taken) -> Examples:
    """The examples of one file. Raises `Mistake` where it cannot be read or does not fit what is taken."""
    if not path.is_file():
        raise Mistake(f"there is no file {path}")
    if path.suffix.lower() in _ARRAYS:
        return _examples(path, _array(path), taken)
    return _picture(path, taken)


def _picture(path: Path, taken: Taken) -> Examples:
    """One picture, in the channels and the size of the training data; its black is their least value, its white their
    greatest.
    """
    if taken.vocabulary is not None or len(taken.shape) != 3 or taken.shape[0] not in (1, 3):
        raise Mistake(
            f"{path}: this student takes {_wanted(taken)} and no pictures; give arrays of that, in .npy or .npz files"
        )
    channels, height, width = taken.shape
    try:
        pixels, before = sized(lambda name: Path(name).read_bytes(), os.fspath(path), channels == 1, (height, width))
    except UnreadableError as error:
        raise Mistake(
            f"{path} cannot be read as a picture ({error}); convert it to PNG or JPEG, or give an array (.npy, .npz)"
        ) from None
    scaled = torch.from_numpy(pixels.copy())[None]
    if taken.dtype != torch.uint8 or taken.high < _BRIGHT:
        scaled = taken.low + scaled.float() / 255 * (taken.high - taken.low)
        scaled = scaled if taken.dtype.is_floating_point else scaled.round()
    resized = f"resized from {before[0]}x{before[1]} to {height}x{width} (HxW)" if before != (height, width) else ""
    return Examples(inputs=scaled, several=False, note=resized)


def _array(path: Path) -> NDArray[Any]:
    try:
        if path.suffix.lower() == ".npy":
            # which finds a size that is not there, and has no objects
            mapped = np.lib.format.open_memmap(path, mode="r")
            if mapped.nbytes > _MOST_BYTES:
                raise ValueError(f"{mapped.nbytes:,} bytes are more than {_MOST_BYTES:,}")
            return mapped
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.infolist()}
        name = "x" if "x" in sizes else next(iter(sizes), "")
        if name != "x" and len(sizes) != 1:
            raise Mistake(
                f"{path} holds {len(sizes)} arrays ({', '.join(sizes)}) and none called x; save the one that is meant"
            )
        if sizes[name] > _MOST_BYTES:
            raise ValueError(f"the {sizes[name]:,} bytes of {name} are more than {_MOST_BYTES:,}")
        with np.load(path, allow_pickle=False) as stored:
            return np.asarray(stored[name])
    except _DAMAGE as error:
        raise Mistake(
            f"{path} cannot be read as an array of numbers ({error}); save it, or a part of it, with numpy.save"
        ) from None


def _examples(path: Path, array: NDArray[Any], taken: Taken) -> Examples:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        raise Mistake(f"{path} must hold numbers, got {getattr(array, 'dtype', type(array).__name__)}")
    several = array.shape != taken.shape
    if several and (array.shape[1:] != taken.shape or len(array) == 0):
        raise Mistake(
            f"{path} has shape {array.shape}; this student takes {_wanted(taken)}, or several of that "
            f"(N, {', '.join(map(str, taken.shape))})"
        )
    plain = np.array(array if several else array[None], dtype=array.dtype.newbyteorder("="))
    if not (np.abs(plain.astype(np.float64)) <= np.finfo(np.float32).max).all():  # not a number is not
        raise Mistake(f"{path} holds NaN, or values beyond what single precision has; replace them first")
    inputs = torch.from_numpy(plain.astype(np.uint8) if plain.dtype == bool else plain)
    if taken.vocabulary is not None:
        check_tokens(inputs, taken.vocabulary, str(path))
    return Examples(inputs=inputs, several=several, note=_doubt(plain, taken))


def _doubt(array: NDArray[Any], taken: Taken) -> str:
    """What is strange about values that can be taken nonetheless."""
    if taken.vocabulary is not None:
        return ""
    low, high = float(array.min()), float(array.max())
    fractions = array.dtype.kind == "f" and taken.dtype == torch.uint8 and low >= 0 and high <= 1
    if fractions or low < taken.low or high > taken.high:
        return f"values of {low:g} to {high:g}, where the training data have {taken.low:g} to {taken.high:g}"
    return ""


def _wanted(taken: Taken) -> str:
    kind = "token numbers" if taken.vocabulary is not None else "numbers"
    return f"{kind} of shape ({', '.join(map(str, taken.shape))}{',' if len(taken.shape) == 1 else ''})"
