"""From a source's own parts to the three splits: what it lacks is taken from what it has, stratified and seeded."""

from collections.abc import Mapping

import torch
from torch import Tensor

from kdsearch.data.base import Data, Split, split_off
from kdsearch.data.cache import nameless
from kdsearch.mistakes import Mistake

_AT_ONCE = 256

Share = float | int
"""So many examples, or a fraction between 0 and 1 of them."""


def partition(
    name: str,
    inputs: Tensor,
    labels: Tensor,
    parts: Mapping[str, Tensor],
    *,
    train: int | None,
    validation: Share,
    test: Share,
    seed: int,
    class_names: tuple[str, ...] = (),
    vocabulary: int | None = None,
    memory_gb: float = 2.0,
) -> Data:
    """Data of the rows of `inputs` (N, ...) and `labels` (N,) that `parts` names: `train` (or all there
    is), and where the source has them `test` and `validation`.

    A missing `test` is a share of all, a missing `validation` a share of what is not test; `train` keeps only so many
    of the other examples. Rows that lie behind one another are not copied; others are, into memory or, where a split's
    inputs take more than `memory_gb`, into a nameless file in the cache folder that goes with the process.
    """
    rest = parts["train"]

    def part(wanted: str, share: Share) -> Tensor:
        nonlocal rest
        if wanted in parts:
            return parts[wanted]
        left, chosen = split_off(labels[rest], _count(wanted, share, len(rest)), seed, name)
        held, rest = rest[chosen], rest[left]
        return held

    test_rows = part("test", test)
    validation_rows = part("validation", validation)
    if train is not None and train != len(rest):
        rest = rest[split_off(labels[rest], train, seed, name)[1]]
    return Data(
        name=name if train is None else f"{name}-{train}",
        train=_rows(inputs, labels, rest, memory_gb),
        validation=_rows(inputs, labels, validation_rows, memory_gb),
        test=_rows(inputs, labels, test_rows, memory_gb),
        class_names=class_names,
        vocabulary=vocabulary,
    )


def _count(name: str, share: Share, examples: int) -> int:
    whole = isinstance(share, int) and not isinstance(share, bool) and share >= 1
    if not whole and not (isinstance(share, float) and 0 < share < 1):
        raise Mistake(f"{name} must be a number of examples or a fraction between 0 and 1, got {share!r}")
    return int(share) if whole else round(share * examples)


def _rows(inputs: Tensor, labels: Tensor, rows: Tensor, memory_gb: float) -> Split:
    first, end = int(rows[0]), int(rows[0]) + len(rows)
    if torch.equal(rows, torch.arange(first, end)):
        return Split(inputs=inputs[first:end], labels=labels[first:end])
    if inputs[:1].nbytes * len(rows) <= memory_gb * 1e9:
        return Split(inputs=inputs[rows], labels=labels[rows])
    mapped = nameless((len(rows), *inputs.shape[1:]), inputs.dtype)
    for part in torch.arange(len(rows)).split(_AT_ONCE):
        mapped[part[0] : part[-1] + 1] = inputs[rows[part]]
    return Split(inputs=mapped, labels=labels[rows])
