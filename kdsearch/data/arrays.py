"""Arrays of the user's own, from one .npz file."""

import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdsearch.data.base import Data, Split, data_folder, split_off, take
from kdsearch.data.sequences import ids
from kdsearch.mistakes import Mistake

_KINDS = "x and y; or x_train, y_train, x_test, y_test, and if there is one x_validation, y_validation"
# what NumPy and zipfile raise for files that are cut off, altered, encrypted or packed in another way
_DAMAGE = (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)


def arrays(
    path: str | os.PathLike[str],
    *,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    vocabulary: int | None = None,
) -> Data:
    """Data from an .npz file with the arrays `x` and `y`, or with `x_train`, `y_train`, `x_test`, `y_test` and, if
    there are any, `x_validation`, `y_validation`; Keras's `mnist.npz` fits as it is.

    Inputs are (N, C, H, W), (N, H, W) or (N, F), of any integer or float type; labels (N,) integers from 0. Splits that
    the file lacks are taken from what it has, stratified by `seed`; `validation` and `test` are fractions of all that
    is not test, and of all. A relative path is looked up in the data folder when it is not there as it stands.
    With `vocabulary` inputs are token ids (N, L), integers in [0, vocabulary). Object arrays are refused: nothing is
    unpickled.
    """
    found = Path(path)
    if not found.is_absolute() and not found.exists() and os.environ.get("KDSEARCH_DATA"):
        found = data_folder(None) / found
    for name, fraction in (("validation", validation), ("test", test)):
        if not 0 < fraction < 1:
            raise Mistake(f"{name} must be a fraction between 0 and 1, got {fraction}")
    parts = _read(found)
    labels = {key: _labels(found, key, value) for key, value in parts.items() if key.startswith("y")}
    inputs = {
        key: _inputs(found, key, value) if vocabulary is None else ids(value, vocabulary, f"{found}: {key}")
        for key, value in parts.items()
        if key.startswith("x")
    }
    if "x" in inputs:
        rest, chosen = split_off(labels["y"], round(test * len(labels["y"])), seed, found.name)
        test_split = take(inputs["x"], labels["y"], chosen)
        x, y = inputs["x"][rest], labels["y"][rest]
    else:
        test_split = Split(inputs=inputs["x_test"], labels=labels["y_test"])
        x, y = inputs["x_train"], labels["y_train"]
    if "x_validation" in inputs:
        train = Split(inputs=x, labels=y)
        held = Split(inputs=inputs["x_validation"], labels=labels["y_validation"])
    else:
        rest, chosen = split_off(y, round(validation * len(y)), seed, found.name)
        train, held = take(x, y, rest), take(x, y, chosen)
    return Data(name=found.stem, train=train, validation=held, test=test_split, vocabulary=vocabulary)


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array without a name")
        with stored:
            parts = {key: stored[key] for key in stored.files}
    except FileNotFoundError:
        raise Mistake(f"there is no file {path}; give the path of an .npz file with {_KINDS}") from None
    except _DAMAGE as error:
        raise Mistake(
            f"{path} cannot be read as an .npz file of plain arrays ({error}); save it with numpy.savez"
        ) from None
    names = set(parts)
    needed = {"x", "y"} if "x" in names else {"x_train", "y_train", "x_test", "y_test"}
    optional = set() if "x" in names else {"x_validation", "y_validation"}
    if missing := needed - names:
        raise Mistake(
            f"{path} lacks {', '.join(sorted(missing))}; it needs {_KINDS}, and has: {', '.join(sorted(names))}"
        )
    if len(optional & names) == 1:
        raise Mistake(f"{path} has only one of x_validation and y_validation; give both or neither")
    for key in (needed | optional) & names:
        if key.startswith("x") and len(parts[key]) != len(parts["y" + key[1:]]):
            raise Mistake(
                f"{path}: {key} has {len(parts[key])} rows, y{key[1:]} {len(parts['y' + key[1:]])}; they must match"
            )
    return {key: parts[key] for key in (needed | optional) & names}


def _labels(path: Path, key: str, value: NDArray[np.generic]) -> Tensor:
    if value.ndim != 1 or value.dtype.kind not in "iu":
        raise Mistake(f"{path}: {key} must be integers of shape (N,), got {value.dtype} of shape {value.shape}")
    return torch.from_numpy(value.astype(np.int64))


def _inputs(path: Path, key: str, value: NDArray[np.generic]) -> Tensor:
    if value.dtype.kind not in "iuf" or value.ndim not in (2, 3, 4):
        raise Mistake(
            f"{path}: {key} must be numbers of shape (N, C, H, W), (N, H, W) or (N, F), "
            f"got {value.dtype} of shape {value.shape}"
        )
    if value.ndim == 4 and value.shape[3] in (1, 3) and value.shape[1] not in (1, 3):
        raise Mistake(
            f"{path}: {key} has shape {value.shape}, channels last; kdsearch wants (N, C, H, W): transpose(0, 3, 1, 2)"
        )
    kept = value if value.dtype == np.uint8 else value.astype(np.float32)
    if not np.isfinite(kept).all():
        raise Mistake(f"{path}: {key} holds NaN or infinite values; replace them first")
    tensor = torch.from_numpy(np.ascontiguousarray(kept))
    return tensor.unsqueeze(1) if value.ndim == 3 else tensor
