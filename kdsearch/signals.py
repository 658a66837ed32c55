"""Teacher signals: what the frozen teacher says about each training example under each view of it.

Shape letters: M members of the ensemble, N training examples, B batch, K classes.
Signals are computed once per (teacher, data, augmentation, view, layer), kept under keys of their content and looked
up by example index, never by batch position. Logits are kept in single precision, exactly: they are small. Features
are kept in half precision (in single where half would overflow), with the error that this made in the note beside.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from kdsearch.data.base import Data
from kdsearch.data.views import Batch, Views
from kdsearch.layers import forward_to, layer_shapes
from kdsearch.mistakes import Mistake
from kdsearch.plain import digest
from kdsearch.rounding import Rounding
from kdsearch.signal_files import Content, SignalFiles
from kdsearch.teacher import Frozen

_BATCH = 128
"""Activations of so many examples stay in a core's cache: half the time of batches of 512 for a small teacher."""


class Lookup(Protocol):
    """What a teacher says of the examples of a batch, without gradients: logits (M, B, K) or features (B, ...)."""

    shape: tuple[int, ...]
    """Of one example's signal: (K,) or the layer's output."""

    def __call__(self, batch: Batch) -> Tensor: ...


class Stored:
    """Looks signals up, by example index; `open_view` gives a view's signals of all examples, along `axis`."""

    def __init__(self, shape: tuple[int, ...], axis: int, open_view: Callable[[int], Tensor]) -> None:
        self.shape = shape
        self._axis = axis
        self._open = open_view
        self._opened: dict[int, Tensor] = {}

    def view(self, view: int) -> Tensor:
        """All examples' signals under a view: logits (M, N, K) float32, or features (N, ...)."""
        if view not in self._opened:
            self._opened[view] = self._open(view)
        return self._opened[view]

    def __call__(self, batch: Batch) -> Tensor:
        return self.view(batch.view).index_select(self._axis, batch.index_B).to(batch.inputs_B.device)


class Live:
    """Runs the teacher on the batch's inputs; `run` is without gradients (and not inference mode, whose tensors
    autograd refuses to keep).
    """

    def __init__(self, shape: tuple[int, ...], run: Callable[[Tensor], Tensor]) -> None:
        self.shape = shape
        self._run = run

    def __call__(self, batch: Batch) -> Tensor:
        return self._run(batch.inputs_B.cpu()).to(batch.inputs_B.device)  # the teacher is on the CPU


class Permuted:
    """What the teacher says of another example, always the same one: the control that shows whether it matters that
    the teacher speaks of the example at hand.
    """

    def __init__(self, lookup: Lookup, other_N: Tensor, views: Views) -> None:
        self.shape = lookup.shape
        self._lookup = lookup
        self._other_N = other_N
        self._views = views

    def __call__(self, batch: Batch) -> Tensor:
        other_B = self._other_N[batch.index_B]
        if isinstance(self._lookup, Live):
            return self._lookup(self._views.batch(other_B, batch.view))
        return self._lookup(replace(batch, index_B=other_B))


class Signals:
    """The signals of one teacher on one training split, kept in `folder`, at most `limit_gb` of them.

    The least recently used features make place for others; logits are kept. Features of a layer that would not fit
    beside the logits run live instead, said once in the notes: what is stored and what is not follows from the study
    and the recipe alone, so that a segment gives the same bits anywhere. `teacher` is called only when something has
    to be computed.
    """

    def __init__(
        self, teacher: Callable[[], Frozen], key: str, data: Data, folder: Path, limit_gb: float = 8.0
    ) -> None:
        self._make_teacher = teacher
        self._frozen: Frozen | None = None
        self._key = key
        self._data = data
        self._files = SignalFiles(folder, limit_gb * 1e9)
        self._other_N: Tensor | None = None
        self._votes: tuple[float, ...] | None = None  # () for equal ones, once known
        self.seconds = 0.0
        """Time spent so far computing signals, waiting for those who do, loading them and running the teacher live."""

    def take_notes(self) -> list[str]:
        """What is worth telling the user since the last call."""
        notes, self._files.notes = self._files.notes, []
        return notes

    def permuted(self, seed: int) -> "Signals":
        """The same, but of other examples: each gets what the teacher says of one that `seed` chooses for it."""
        apart = copy(self)
        generator = torch.Generator().manual_seed(seed)
        apart._other_N = torch.randperm(len(self._data.train), generator=generator)
        return apart

    def logits(self, views: Views, *, live: bool = False) -> Lookup:
        """Logits of every member, float32."""
        shape = (self._data.classes,)
        if live:
            return self._of_whom(Live(shape, self._timed(lambda inputs_B: _stacked(self._teacher, inputs_B))), views)
        return self._of_whom(Stored(shape, 1, lambda view: self._open_logits(views, view)), views)

    @property
    def votes(self) -> Tensor | None:
        """The members' shares (M,) of the ensemble's prediction, None where they are equal."""
        if self._votes is None:
            with self._apart():
                note = self._files.note(self._stem("logits", Views(self._data).key(0)))  # spares a process the teacher
                self._votes = (note.get("votes") if note is not None else self._teacher.votes) or ()
        return torch.tensor(self._votes) if self._votes else None

    @property
    def threads(self) -> int | None:
        """With how many threads of torch the logits on the data as they are were computed; None where that is not known
        or not done yet.
        """
        found = (self._files.note(self._stem("logits", Views(self._data).key(0))) or {}).get("threads")
        return found if isinstance(found, int) else None

    def compute(self, views: Views) -> None:
        """See to it that the logits on all views are there."""
        for view in range(views.count):
            self._open_logits(views, view)

    def features(
        self, views: Views, layer: str, member: int = 0, *, epochs: int | None = None, live: bool = False
    ) -> Lookup:
        """Outputs of the layer at dotted path `layer` of one member; of the views, only those of the first `epochs`
        are going to be looked up.
        """
        with self._apart():
            stem = self._stem("features", views.key(0), f"{member}/{layer}")
            shape = self._shape(stem, layer, member)
            if live or not self._fits(views, layer, shape, min(views.count, epochs or views.count)):
                run = self._timed(lambda inputs_B: _layer(self._teacher, member, layer, inputs_B))
                return self._of_whom(Live(shape, run), views)
        return self._of_whom(
            Stored(shape, 0, lambda view: self._open_features(views, view, layer, member, shape)), views
        )

    def _of_whom(self, lookup: Lookup, views: Views) -> Lookup:
        return lookup if self._other_N is None else Permuted(lookup, self._other_N, views)

    def _open_logits(self, views: Views, view: int) -> Tensor:
        def content() -> Content:
            members = self._teacher.members
            check_room(views.count, len(members), self._data, self._files.limit_bytes / 1e9)
            return Content(
                shape=(len(members), len(self._data.train), self._data.classes),
                dtype=np.float32,
                parts=lambda: (
                    member(batch.inputs_B).numpy() for member in members for batch in self._batches(views, view)
                ),
                note=lambda: {
                    "signal": "logits",
                    "teacher": self._key,
                    "view": view,
                    "members": len(members),
                    "votes": self._teacher.votes,
                    "threads": torch.get_num_threads(),
                },
            )

        with self._apart():
            return self._files.array(self._stem("logits", views.key(view)), content)

    def _open_features(self, views: Views, view: int, layer: str, member: int, shape: tuple[int, ...]) -> Tensor:
        def content(dtype: DTypeLike) -> Content:
            teacher, error = self._teacher, Rounding(dtype)
            return Content(
                shape=(len(self._data.train), *shape),
                dtype=dtype,
                parts=lambda: (
                    error.rounded(_layer(teacher, member, layer, batch.inputs_B).numpy())
                    for batch in self._batches(views, view)
                ),
                note=lambda: {
                    "signal": f"features of {layer}",
                    "teacher": self._key,
                    "view": view,
                    "member": member,
                    "shape": shape,
                    **error.measured(),
                },
            )

        with self._apart():
            stem = self._stem("features", views.key(view), f"{member}/{layer}")
            try:
                return self._files.array(stem, lambda: content(np.float16))
            except OverflowError:
                return self._files.array(stem, lambda: content(np.float32))

    def _batches(self, views: Views, view: int) -> Iterator[Batch]:
        for index_B in torch.arange(len(self._data.train)).split(_BATCH):
            yield replace(views, device="cpu").batch(index_B, view)

    def _fits(self, views: Views, layer: str, shape: tuple[int, ...], used: int) -> bool:
        members = (self._files.note(self._stem("logits", views.key(0))) or {}).get("members")
        logits = logits_bytes(views.count, members or len(self._teacher.members), self._data)
        needed = used * len(self._data.train) * math.prod(shape) * np.dtype(np.float16).itemsize
        if logits + needed <= self._files.limit_bytes:
            return True
        self._files.say_once(
            f"the features of the teacher's layer {layer!r} would take {needed / 1e9:.3g} GB and the logits "
            f"{logits / 1e9:.3g} GB, more than signals_gb = {self._files.limit_bytes / 1e9:.3g}: hints from that layer "
            "run the teacher up to it in every step"
        )
        return False

    def _shape(self, stem: str, layer: str, member: int) -> tuple[int, ...]:
        noted = (self._files.note(stem) or {}).get("shape")  # spares a process the teacher
        if noted is not None:
            return tuple(noted)
        return layer_shapes(self._teacher.members[member], [layer], self._data.shape)[layer]

    def _stem(self, kind: str, view_key: str, layer: str = "") -> str:
        # hashed: a layer's name must not become a path
        return f"{kind}-{digest({'teacher': self._key, 'view': view_key, 'layer': layer})[:32]}"

    @property
    def _teacher(self) -> Frozen:
        if self._frozen is None:
            with torch.enable_grad(), torch.random.fork_rng(devices=[]):  # it is the user's code
                self._frozen = self._make_teacher()
        return self._frozen

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Whether a signal is there already or has to be computed must not show in the student's random numbers."""
        exactly = torch.autocast("cpu", enabled=False)  # also where the student trains in less than full precision
        with self._counted(), torch.no_grad(), torch.random.fork_rng(devices=[]), exactly:
            yield

    @contextmanager
    def _counted(self) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - begun

    def _timed(self, run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def timed(inputs_B: Tensor) -> Tensor:
            # in full precision also where the student trains in less
            with self._counted(), torch.no_grad(), torch.autocast("cpu", enabled=False):
                return run(inputs_B)

        return timed


def logits_bytes(views: int, members: int, data: Data) -> int:
    """What the logits of so many views and ensemble members take."""
    return views * members * len(data.train) * data.classes * np.dtype(np.float32).itemsize


def check_room(views: int, members: int, data: Data, limit_gb: float) -> None:
    """Raise `Mistake` where the logits of `views` views alone are above the limit."""
    needed_gb = logits_bytes(views, members, data) / 1e9
    if needed_gb > limit_gb:
        others = ", use fewer views, or Recipe(live_teacher=True)" if views > 1 else ""
        raise Mistake(
            f"the teacher's logits on {views} views of the training split take {needed_gb:.3g} GB, above signals_gb of "
            f"{limit_gb:.3g}; raise it in the Study{others}"
        )


def _stacked(teacher: Frozen, inputs_B: Tensor) -> Tensor:
    return torch.stack([member(inputs_B) for member in teacher.members])


def _layer(teacher: Frozen, member: int, layer: str, inputs_B: Tensor) -> Tensor:
    return forward_to(teacher.members[member], layer, inputs_B)
