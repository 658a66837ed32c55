"""Any map-style torch Dataset of (input, label), read once in the order of its indices.

Shape letters: N examples, C channels, H height, W width, F features.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from kdsearch.data.bar import bar
from kdsearch.data.base import Data
from kdsearch.data.cache import nameless
from kdsearch.data.decoding import cores
from kdsearch.data.items import example
from kdsearch.data.parting import Share, partition
from kdsearch.mistakes import Mistake, user_code

_TRIED = 16
"""Items that are read first, to know their shape and how long one takes, and again at the end."""
_PATIENCE_S = 5.0
_BATCH = 64
_AUGMENT = "random changes belong in Recipe(augment=...), which can be replayed"


class MapStyle(Protocol):
    """A torch Dataset, a list, or whatever else has a length and gives the (input, label) of an index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def from_dataset(
    train: MapStyle,
    test: MapStyle | Share = 0.2,
    validation: MapStyle | Share = 0.2,
    *,
    name: str = "dataset",
    class_names: Sequence[str] = (),
    vocabulary: int | None = None,
    keep: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    memory_gb: float = 2.0,
) -> Data:
    """Data from map-style torch Datasets whose items are (input, label).

    Inputs are tensors, arrays (C, H, W), (H, W) or (F,), or PIL pictures, all of one shape and type; uint8 stays as it
    is, other numbers become float32; with `vocabulary` they are token ids (L,), integers in [0, vocabulary). Labels are
    integers from 0. `test` and `validation` are Datasets, or shares of `train` (a number of examples or a fraction),
    stratified by `seed`; `keep` trains on only so many of what is left.

    Each item is read once, in the order of the indices, so that what a teacher says of it is found by its index: by
    `workers` processes (default: as many as there are cores, where one alone would take more than some seconds). What
    takes more than `memory_gb` is streamed into a memory-mapped file in the cache folder that goes with the process.

    Raises `Mistake` for a Dataset without a length, for items of different shapes or types, for labels that are not
    integers, and for a Dataset that gives other items or another length when it is asked again.
    """
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 0):
        raise Mistake(f"workers must be a whole number of processes, 0 to read in this one, got {workers!r}")
    sources = [
        _Source(part, cast(MapStyle, given), vocabulary)
        for part, given in (("train", train), ("validation", validation), ("test", test))
        if part == "train" or not isinstance(given, (int, float))
    ]
    tried = [_tried(source) for source in sources]
    like = tried[0].inputs[0]
    total = sum(source.length for source in sources)
    inputs = _room((total, *like.shape), like.dtype, memory_gb)
    labels = torch.empty(total, dtype=torch.int64)
    parts: dict[str, Tensor] = {}
    first = 0
    for source, known in zip(sources, tried, strict=True):
        rows = slice(first, first + source.length)
        _check_like(source, 0, known.inputs[0], like)
        _read(source, inputs[rows], labels[rows], _processes(workers, known.seconds * source.length))
        _check_again(source, inputs[rows], labels[rows])
        parts[source.part] = torch.arange(rows.start, rows.stop)
        first = rows.stop
    return partition(
        name,
        inputs,
        labels,
        parts,
        train=keep,
        validation=validation if isinstance(validation, (int, float)) else 0,
        test=test if isinstance(test, (int, float)) else 0,
        seed=seed,
        class_names=tuple(class_names),
        vocabulary=vocabulary,
        memory_gb=memory_gb,
    )


class _Source:
    """A Dataset under the name of its part; an exception that an item raises takes the item's place."""

    def __init__(self, part: str, dataset: MapStyle, vocabulary: int | None) -> None:
        self.part = part
        self.vocabulary = vocabulary
        self.dataset = dataset
        self.length = self.measured()
        if self.length < 1:
            raise Mistake(f"the Dataset for {part} is empty; it needs at least one example of each class")

    def measured(self) -> int:
        try:
            if isinstance(self.dataset, torch.utils.data.IterableDataset):
                raise TypeError("an IterableDataset has no indices")
            return len(self.dataset)
        except (TypeError, NotImplementedError) as error:
            raise Mistake(
                f"the Dataset for {self.part}, {type(self.dataset).__name__}, must be map-style, with __len__ and "
                f"__getitem__ ({error}); read a stream into a list first"
            ) from None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> "tuple[Tensor, int] | Mistake":
        try:
            with user_code(f"item {index} of the Dataset for {self.part}"):
                item = self.dataset[index]
            return example(item, self.vocabulary, f"item {index} of the Dataset for {self.part}")
        except Mistake as mistake:  # raised where it was asked for: a DataLoader would wrap it
            return mistake

    def item(self, index: int) -> tuple[Tensor, int]:
        found = self[index]
        if isinstance(found, Mistake):
            raise found
        return found


@dataclass(frozen=True)
class _Tried:
    inputs: list[Tensor]
    seconds: float
    """For each item."""


def _tried(source: _Source) -> _Tried:
    before = time.perf_counter()
    inputs = [source.item(index)[0] for index in range(min(_TRIED, source.length))]
    return _Tried(inputs, (time.perf_counter() - before) / len(inputs))


def _processes(workers: int | None, seconds: float) -> int:
    """How many processes shall read, besides this one; 0 for this one alone."""
    if workers is not None:
        return workers
    # elsewhere processes are not forked: they could not take any Dataset, and would run the caller's script again
    return cores() if seconds > _PATIENCE_S and sys.platform == "linux" else 0


def _room(shape: tuple[int, ...], dtype: torch.dtype, memory_gb: float) -> Tensor:
    size = int(np.prod(shape)) * dtype.itemsize
    return torch.empty(shape, dtype=dtype) if size <= memory_gb * 1e9 else nameless(shape, dtype)


def _read(source: _Source, inputs: Tensor, labels: Tensor, processes: int) -> None:
    """Fill `inputs` (N, ...) and `labels` (N,), row by index."""
    said = f"reading the Dataset for {source.part}, once, by {processes} processes"
    with bar(said, source.length, "examples") if processes else nullcontext(lambda done: None) as advance:
        index = 0
        for batch in _batches(source, processes):
            for found in batch:
                if isinstance(found, Mistake):
                    raise found
                _check_like(source, index, found[0], inputs[0])
                inputs[index], labels[index] = found
                index += 1
            advance(len(batch))


def _batches(source: _Source, processes: int) -> "Iterator[list[tuple[Tensor, int] | Mistake]]":
    from torch.utils.data import DataLoader

    context = "fork" if processes and sys.platform == "linux" else None
    loader: Any = DataLoader(
        cast(Any, source),
        batch_size=_BATCH,
        num_workers=processes,
        collate_fn=_as_arrays,
        multiprocessing_context=context,
    )
    for batch in loader:
        yield [one if isinstance(one, Mistake) else (torch.from_numpy(one[0]), one[1]) for one in batch]


def _as_arrays(batch: list[Any]) -> list[Any]:
    """For the way between processes: each tensor would take an open file of its own."""
    return [one if isinstance(one, Mistake) else (one[0].numpy(), one[1]) for one in batch]


def _check_like(source: _Source, index: int, found: Tensor, like: Tensor) -> None:
    if found.shape != like.shape or found.dtype != like.dtype:
        raise Mistake(
            f"all inputs must have one shape and type; item {index} of the Dataset for {source.part} is "
            f"{_described(found)}, the first for train is {_described(like)}: resize or convert them in the Dataset"
        )


def _described(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _check_again(source: _Source, inputs: Tensor, labels: Tensor) -> None:
    """Ask for some items again, and for the length."""
    for index in torch.linspace(0, source.length - 1, min(_TRIED, source.length)).long().tolist():
        again, label = source.item(index)
        if again.shape != inputs.shape[1:] or not torch.equal(again, inputs[index]) or label != int(labels[index]):
            raise Mistake(
                f"the Dataset for {source.part} gives another item {index} when it is asked again; a teacher's answers "
                f"are kept by index, so the items must stay as they are: {_AUGMENT}, and shuffling is done in training"
            )
    if (now := source.measured()) != source.length:
        raise Mistake(
            f"the Dataset for {source.part} had {source.length} examples before it was read and has {now} after; its "
            "length must stay: read it into a list first"
        )
