"""Sequences of token ids, as a tokenizer gives them: integers (N, L).

Shape letters: N examples, L length of a sequence.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from kdsearch.data.base import Data, check_tokens
from kdsearch.data.parting import Share, partition
from kdsearch.mistakes import Mistake

Pair = tuple[ArrayLike, ArrayLike]
"""Sequences (N, L) and their labels (N,)."""


def tokens(
    inputs: ArrayLike,
    labels: ArrayLike,
    *,
    vocabulary: int,
    validation: Pair | Share = 0.2,
    test: Pair | Share = 0.2,
    train: int | None = None,
    seed: int = 0,
    name: str = "tokens",
    class_names: Sequence[str] = (),
) -> Data:
    """Data of token ids `inputs` (N, L), integers in [0, vocabulary), and `labels` (N,), integers from 0.

    Both are arrays, tensors or nested lists; sequences are cut and padded to one length by who makes them, the padding
    an id of the vocabulary too. `validation` and `test` are (inputs, labels) of their own, or shares (a number of
    examples or a fraction), stratified by `seed`; `train` keeps only so many of the other examples.

    Networks get the ids as int64 (B, L), never normalized. One of your own must begin with `.long()`: exported it gets
    floats. Raises `Mistake` for ids out of range, with value, example and position.
    """
    given: dict[str, Pair] = {"train": (inputs, labels)}
    for part, pair in (("validation", validation), ("test", test)):
        if isinstance(pair, tuple):
            given[part] = pair
    sequences, targets, parts, first = [], [], {}, 0
    for part, (some, of) in given.items():
        sequences.append(ids(some, vocabulary, f"{name}: {part}"))
        targets.append(_labels(of, len(sequences[-1]), f"{name}: {part}"))
        if sequences[-1].shape[1] != sequences[0].shape[1]:
            raise Mistake(
                f"{name}: sequences of {part} have length {sequences[-1].shape[1]}, those of train "
                f"{sequences[0].shape[1]}; cut and pad all to one length"
            )
        parts[part] = torch.arange(first, first + len(sequences[-1]))
        first += len(sequences[-1])
    return partition(
        name,
        torch.cat(sequences),
        torch.cat(targets),
        parts,
        train=train,
        validation=validation if not isinstance(validation, tuple) else 0,
        test=test if not isinstance(test, tuple) else 0,
        seed=seed,
        class_names=tuple(class_names),
        vocabulary=vocabulary,
    )


def ids(given: ArrayLike, vocabulary: int, what: str) -> Tensor:
    """Token ids (N, L) as int32. Raises `Mistake` for anything else, and for ids out of [0, vocabulary)."""
    array = _array(given, what)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise Mistake(
            f"{what}: tokens must be integers of shape (N, L), got {array.dtype} of shape {array.shape}; cut and pad "
            "all sequences to one length"
        )
    # in the machine's order of bytes, and else of the type that it has: int64 would wrap what is larger
    check_tokens(torch.from_numpy(array.astype(array.dtype.newbyteorder("="))), vocabulary, what)
    return torch.from_numpy(array.astype(np.int32))


def _labels(given: ArrayLike, examples: int, what: str) -> Tensor:
    array = _array(given, what)
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) != examples:
        raise Mistake(
            f"{what}: labels must be integers of shape ({examples},), one for each sequence, got {array.dtype} of "
            f"shape {array.shape}; convert booleans to 0 and 1"
        )
    return torch.from_numpy(array.astype(np.int64))


def _array(given: ArrayLike, what: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    try:
        return np.asarray(given)
    except ValueError:  # lists of different lengths
        raise Mistake(f"{what}: the sequences differ in length; cut and pad all to one") from None
