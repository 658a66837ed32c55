"""The training split as an augmentation shows it: batches by (index, view), and whether a view can be replayed.

Shape letters: B batch.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kdsearch.data.augment import Augment, Augmentation
from kdsearch.data.base import Data
from kdsearch.mistakes import Mistake, user_code
from kdsearch.plain import as_json, digest

_PROBED = 16


@dataclass(frozen=True)
class Batch:
    """Training examples `index_B` (B,) as `view` shows them: `inputs_B` (B, ...) normalized.

    `targets` are what `losses.hard_labels` takes after the logits: the labels (B,), and under mixup those of the
    examples that they are mixed with (B,) and their own weights (B,).
    """

    index_B: Tensor
    view: int
    inputs_B: Tensor
    targets: tuple[Tensor, ...]


@dataclass(frozen=True)
class Views:
    """The training split of `data` under `augment` (None: as it is).

    `first_epoch` is the epoch, of the trial's whole budget and from 0, at which the stage begins that trains on these;
    `device` where a batch's inputs and targets are. Its indices, as the data themselves, are on the CPU.
    """

    data: Data
    augment: Augmentation | None = None
    first_epoch: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.augment is not None:
            check_fits(self.augment, self.data)

    @property
    def count(self) -> int:
        return self.augment.views if self.augment is not None else 1

    def at(self, epoch: int) -> int:
        """The view of the stage's `epoch`, from 0."""
        return (self.first_epoch + epoch) % self.count

    def batch(self, index_B: Tensor, view: int) -> Batch:
        """Pure: the same examples in any batch, order or process have the same pixels and targets."""
        inputs_B, targets = self._shown(index_B, view)
        return Batch(index_B, view, inputs_B.to(self.device), tuple(target.to(self.device) for target in targets))

    def _shown(self, index_B: Tensor, view: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        labels = self.data.train.labels
        if self.augment is None or view == 0:
            return self.data.batch(index_B), (labels[index_B],)
        inputs_B = self._pixels(self.augment, index_B, view)
        # a user's own augmentation has pixels alone
        mixing = self.augment.mixing(index_B, view, len(labels)) if isinstance(self.augment, Augment) else None
        if mixing is None:
            return inputs_B, (labels[index_B],)
        partner_B, weight_B = mixing
        share = weight_B.view(-1, *(1,) * (inputs_B.ndim - 1))
        mixed_B = torch.lerp(self._pixels(self.augment, partner_B, view), inputs_B, share)
        return mixed_B, (labels[index_B], labels[partner_B], weight_B)

    def key(self, view: int) -> str:
        """Content key of a view: the augmentation's fields and the pixels that it gives for some examples, so that
        changed code is another view; view 0 is the same under every augmentation.
        """
        if self.augment is None or view == 0:
            return "view 0"
        index_B = _spread(len(self.data.train))
        shown = self.augment.apply(self.data.train.inputs[index_B], index_B, view)
        pixels = hashlib.sha256(f"{shown.dtype}".encode() + shown.contiguous().numpy().tobytes()).hexdigest()
        return digest({"augment": as_json(self.augment), "view": view, "pixels": pixels})

    def _pixels(self, augment: Augmentation, index_B: Tensor, view: int) -> Tensor:
        return self.data.normalize(augment.apply(self.data.train.inputs[index_B], index_B, view))


def check_fits(augment: Augmentation, data: Data) -> None:
    """Raise `Mistake` where `augment` changes pixels and the data are tokens."""
    if data.vocabulary is None or not isinstance(augment, Augment):
        return
    if used := [name for name in ("flip", "shift", "cutout", "mixup") if getattr(augment, name)]:
        raise Mistake(
            f"Augment's {', '.join(used)} would change token ids as if they were pixels, and {data.name} are tokens; "
            "leave it out, or write an augmentation of your own whose apply() gives token ids"
        )


def check_replayable(augment: Augmentation, data: Data, way_out: str = "") -> None:
    """Raise `Mistake`, with the reason and `way_out`, for an augmentation that cannot be replayed: one whose pixels
    depend on a global random generator, or on the batch that an example is in rather than on its index.
    """
    check_fits(augment, data)
    if augment.views == 1:
        return  # the data as they are, alone
    index_B = _spread(len(data.train))
    name = f"{type(augment).__name__}.apply()"

    def shown(seed: int, order: Tensor) -> Tensor:
        with _other_generators(seed), user_code(name):
            given = augment.apply(data.train.inputs[index_B[order]].clone(), index_B[order], 1)
        if not isinstance(given, Tensor) or given.shape != (len(order), *data.shape):
            found = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise Mistake(f"{name} must keep the shape of the inputs, {(len(order), *data.shape)}, got {found}")
        return given

    straight = torch.arange(len(index_B))
    first = shown(1, straight)
    if not torch.equal(shown(2, straight), first):
        raise Mistake(
            f"{name} cannot be replayed: it gives other pixels for the same arguments, so it draws from a global "
            f"random generator; take the numbers from kdsearch.drawn(index_B, ...){way_out}"
        )
    part = straight.flip(0)[: 1 + len(straight) // 2]
    if not torch.equal(shown(1, part), first[part]):
        raise Mistake(
            f"{name} cannot be replayed: an example's pixels depend on the batch that it is in; they must follow from "
            f"its index and the view, as numbers of kdsearch.drawn(index_B, ...) do{way_out}"
        )


def _spread(examples: int) -> Tensor:
    """A few indices from all over the split."""
    return torch.linspace(0, examples - 1, min(_PROBED, examples)).long()


@contextmanager
def _other_generators(seed: int) -> Iterator[None]:
    """Global random generators in the state of `seed`; the caller's are put back."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
