"""The data value: train, validation and test, kept compact, normalized per batch by training statistics.

Shape letters: N examples, B batch, C channels, H height, W width, F features, L length of a sequence.
"""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdsearch.mistakes import Mistake

_AT_ONCE = 4096
_LARGEST_VOCABULARY = 2**24
"""Up to there an id is exact in float32, as which an exported student may get it."""
_NORMALIZED_BYTES = 2**28
"""What the normalized training examples may take in each worker's memory; larger ones are normalized by the batch."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """`inputs` (N, C, H, W) or (N, F), uint8 or float32, or tokens (N, L) of an integer type; `labels` (N,) int64 in
    [0, classes).
    """

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def head(self, examples: int) -> "Split":
        """The first `examples` of the split; splits are shuffled, so that this is a random part of it."""
        return Split(inputs=self.inputs[:examples], labels=self.labels[:examples])


@dataclass(frozen=True, eq=False, kw_only=True)
class Data:
    """Three splits with one shape and the same classes.

    `train` is what students and teacher learn from, `validation` what every choice is made by, `test` what is only
    ever reported. With `vocabulary` inputs are sequences of token ids in [0, vocabulary), which networks get as they
    are, int64. `scale` are a mean and a standard deviation that inputs are normalized by in place of those of `train`,
    as `statistics` has them. Raises `Mistake` where a split is empty, lacks a class or has another shape than `train`,
    and for ids out of range.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...] = field(default=())
    vocabulary: int | None = None
    scale: tuple[Tensor, Tensor] | None = None

    def __post_init__(self) -> None:
        splits = self.splits()
        for name, split in splits.items():
            if len(split) == 0 or len(split.inputs) != len(split):
                raise Mistake(
                    f"{self.name}: split {name!r} has {len(split.inputs)} inputs and {len(split)} labels; "
                    "it needs at least one example and a label for each"
                )
            if split.labels.dtype != torch.int64 or split.labels.ndim != 1:
                raise Mistake(
                    f"{self.name}: labels of {name!r} must be int64 of shape (N,), got {split.labels.dtype} of shape "
                    f"{tuple(split.labels.shape)}; labels.long() converts whole numbers"
                )
            if split.inputs.shape[1:] != self.train.inputs.shape[1:]:
                raise Mistake(
                    f"{self.name}: inputs of {name!r} have shape {tuple(split.inputs.shape[1:])}, "
                    f"those of 'train' {tuple(self.train.inputs.shape[1:])}; all splits need the same"
                )
            if self.vocabulary is not None:
                check_tokens(split.inputs, self.vocabulary, f"{self.name}: split {name!r}")
        if not self.class_names:
            classes = 1 + max(int(split.labels.max()) for split in splits.values())
            object.__setattr__(self, "class_names", tuple(str(k) for k in range(classes)))
        for name, split in splits.items():
            present = set(split.labels.unique().tolist())
            if missing := [self.class_names[k] for k in range(self.classes) if k not in present]:
                raise Mistake(
                    f"{self.name}: split {name!r} has no example of class {', '.join(missing)}; every split needs all "
                    f"{self.classes} classes: give it more examples, or split with stratification"
                )
            if strangers := sorted(present - set(range(self.classes))):
                raise Mistake(f"{self.name}: labels of {name!r} must lie in 0..{self.classes - 1}, got {strangers[0]}")

    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input, (C, H, W), (F,) or (L,)."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def classes(self) -> int:
        return len(self.class_names)

    def joined(self) -> "Data":
        """The same with the validation examples after the training ones in `train`, normalized as before: a network
        that was trained on these data goes on seeing what it knows. `validation` stays, but can judge nothing any more.
        """
        both = Split(
            inputs=torch.cat([self.train.inputs, self.validation.inputs]),
            labels=torch.cat([self.train.labels, self.validation.labels]),
        )
        return replace(self, train=both, scale=self.statistics)

    @cached_property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the training inputs: per channel for images, else over all features; 0 and 1
        for tokens.
        """
        if self.scale is not None:
            return self.scale
        if self.vocabulary is not None:
            return torch.zeros(1, 1), torch.ones(1, 1)
        axes = (0, 2, 3) if self.train.inputs.ndim == 4 else tuple(range(self.train.inputs.ndim))
        # in parts, so that a compact array never stands in memory as float64 at once
        total = torch.zeros(())
        square = torch.zeros(())
        for part in self.train.inputs.split(_AT_ONCE):
            wide = part.double()
            total = total + wide.sum(axes, keepdim=True)
            square = square + wide.square().sum(axes, keepdim=True)
        count = self.train.inputs.numel() / total.numel()
        mean = total / count
        std = (square / count - mean.square()).clamp_min(0).sqrt()
        return mean.float(), std.clamp_min(1e-8).float()

    def normalize(self, inputs_B: Tensor) -> Tensor:
        """Compact inputs (B, ...) to float32 with the training split's mean 0 and standard deviation 1; tokens stay the
        numbers that they are, int64.
        """
        if self.vocabulary is not None:
            return inputs_B.long()
        mean, std = self.statistics
        return (inputs_B.float() - mean) / std

    def batch(self, index_B: Tensor) -> Tensor:
        """The training examples at `index_B` (B,), normalized."""
        if self.train.inputs.numel() * 4 > _NORMALIZED_BYTES:
            return self.normalize(self.train.inputs[index_B])
        return self._normalized.index_select(0, index_B)

    @cached_property
    def _normalized(self) -> Tensor:
        """All training examples, normalized once: each is used in every epoch of every trial."""
        return self.normalize(self.train.inputs)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every array, in hexadecimal: equal data have equal fingerprints on any machine."""
        digest = hashlib.sha256()
        for name, split in self.splits().items():
            for part in (split.inputs, split.labels):
                digest.update(f"{name} {tuple(part.shape)} {part.dtype}".encode())
                digest.update(np.ascontiguousarray(part.numpy()).data)
        if self.vocabulary is not None:
            digest.update(f"vocabulary {self.vocabulary}".encode())
        for part in self.scale or ():
            digest.update(np.ascontiguousarray(part.numpy()).data)
        return digest.hexdigest()


def check_tokens(inputs: Tensor, vocabulary: int, what: str) -> None:
    """Raise `Mistake` where `inputs` are no sequences of ids (N, L) in [0, vocabulary)."""
    if isinstance(vocabulary, bool) or not isinstance(vocabulary, int) or not 2 <= vocabulary <= _LARGEST_VOCABULARY:
        raise Mistake(f"vocabulary must be the number of token ids, 2 to {_LARGEST_VOCABULARY:,}, got {vocabulary!r}")
    whole = not inputs.is_floating_point() and not inputs.is_complex() and inputs.dtype != torch.bool
    if inputs.ndim != 2 or inputs.shape[1] < 1 or not whole:
        raise Mistake(
            f"{what}: tokens must be integers of shape (N, L), L at least 1, got {inputs.dtype} of shape "
            f"{tuple(inputs.shape)}; cut and pad all sequences to one length"
        )
    for first, part in zip(range(0, len(inputs), _AT_ONCE), inputs.split(_AT_ONCE), strict=True):
        found = part.numpy()  # which compares unsigned numbers of 64 bits too
        if len(wrong := np.argwhere((found < 0) | (found >= vocabulary))):
            row, place = wrong[0].tolist()
            raise Mistake(
                f"{what}: token ids must lie in 0..{vocabulary - 1}, got {found[row, place]} in example "
                f"{first + row} at position {place}; map it to an id of its own, or give a larger vocabulary"
            )


def split_off(labels_N: Tensor, examples: int, seed: int, name: str) -> tuple[Tensor, Tensor]:
    """Indices (rest, chosen): `examples` drawn at random from N, each class in proportion (stratified, seeded)."""
    from sklearn.model_selection import train_test_split

    if isinstance(examples, bool) or not isinstance(examples, Integral):
        raise Mistake(f"{name}: a number of examples must be a whole number, got {examples!r}")
    if not 0 < examples < len(labels_N):
        raise Mistake(f"{name}: cannot take {examples} examples of {len(labels_N)}; take 1 to {len(labels_N) - 1}")
    rarest = min(Counter(labels_N.tolist()).values())
    classes = len(labels_N.unique())
    if rarest < 2 or examples < classes or len(labels_N) - examples < classes:
        raise Mistake(
            f"{name}: a stratified split of {examples} of {len(labels_N)} examples cannot hold all {classes} classes "
            f"(the rarest has {rarest}); change that number"
        )
    rest, chosen = train_test_split(
        np.arange(len(labels_N)), test_size=examples, random_state=seed, stratify=labels_N.numpy()
    )
    return torch.from_numpy(rest), torch.from_numpy(chosen)


def take(inputs: Tensor, labels: Tensor, index: Tensor) -> Split:
    return Split(inputs=inputs[index].contiguous(), labels=labels[index].contiguous())


def data_folder(root: str | os.PathLike[str] | None) -> Path:
    """Where the user keeps data: `root`, else KDSEARCH_DATA (the command line's `--data` sets it)."""
    chosen = root if root is not None else os.environ.get("KDSEARCH_DATA")
    if chosen is None:
        raise Mistake("no data folder: name one with --data DIR, the variable KDSEARCH_DATA, or the source's `root`")
    folder = Path(chosen)
    if not folder.is_dir():
        raise Mistake(f"the data folder {folder} does not exist; name another with --data DIR or KDSEARCH_DATA")
    return folder
