"""Teacher signals: what the frozen teacher says about each training example, computed once and memory-mapped.

Shape letters: M members of the ensemble, N training examples, K classes.
Signals are looked up by example index, never by batch position. Logits are kept in single precision, features in half
(single where half would overflow). Left out: views other than the data as it is, and a size limit.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from kdsearch.data.base import Data
from kdsearch.files import file_sha256, write_atomically, write_text
from kdsearch.layers import forward_to, layer_shapes
from kdsearch.teacher import Frozen

_BATCH = 512
_HALF_LIMIT = float(np.finfo(np.float16).max)


class Signals:
    """The signals of one teacher on one training split, kept in `folder` under keys of their content.

    Whichever process needs a signal first computes it; the others wait on its file lock, which the operating system
    releases if that process dies. A file that is torn or altered is computed again. `teacher` is called only when
    something has to be computed.
    """

    def __init__(self, teacher: Callable[[], Frozen], key: str, data: Data, folder: Path) -> None:
        self._teacher = teacher
        self._key = key
        self._data = data
        self._folder = folder
        self._loaded: dict[str, Tensor] = {}

    def logits(self) -> Tensor:
        """Logits (M, N, K), float32, of every member."""

        def compute(teacher: Frozen, path: Path) -> None:
            shape = (len(teacher.members), len(self._data.train), self._data.classes)
            stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
            for number, member in enumerate(teacher.members):
                for begin, output in self._outputs(member, None):
                    stored[number, begin : begin + len(output)] = output.numpy()
            stored.flush()

        return self._signal("logits", compute)

    def features(self, layer: str, member: int = 0) -> Tensor:
        """Output (N, ...) of the layer at dotted path `layer` of one member, in half precision where it fits."""

        def compute(teacher: Frozen, path: Path) -> None:
            module = teacher.members[member]
            shape = layer_shapes(module, [layer], self._data.shape)[layer]
            peak = max(float(output.abs().max()) for _, output in self._outputs(module, layer))
            kind: type[np.floating[Any]] = np.float16 if peak < _HALF_LIMIT else np.float32
            stored = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(len(self._data.train), *shape))
            for begin, output in self._outputs(module, layer):
                stored[begin : begin + len(output)] = output.numpy()
            stored.flush()

        return self._signal(f"features/{member}/{layer}", compute)

    def _outputs(self, module: nn.Module, layer: str | None) -> Iterator[tuple[int, Tensor]]:
        """(first index, outputs) of a frozen module, or of one of its layers, over the training split in batches."""
        inputs = self._data.train.inputs
        with torch.no_grad():
            for begin in range(0, len(inputs), _BATCH):
                batch = self._data.normalize(inputs[begin : begin + _BATCH])
                yield begin, module(batch) if layer is None else forward_to(module, layer, batch)

    def _signal(self, name: str, compute: Callable[[Frozen, Path], None]) -> Tensor:
        if name not in self._loaded:
            # the layer's name is hashed: it must not become a path
            stem = hashlib.sha256(f"{self._key}/view 0/{name}".encode()).hexdigest()[:32]
            path = self._folder / f"{stem}.npy"
            checksum = self._folder / f"{stem}.json"
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / f"{stem}.lock"):
                if not _whole(path, checksum):
                    teacher = self._teacher()
                    write_atomically(path, lambda temporary: compute(teacher, temporary))
                    note = {"signal": name, "teacher": self._key, "sha256": file_sha256(path)}
                    write_text(checksum, json.dumps(note))
            # copy-on-write: torch wants a writable array, and a stray write must not reach the file
            self._loaded[name] = torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
        return self._loaded[name]


def _whole(path: Path, checksum: Path) -> bool:
    try:
        return bool(json.loads(checksum.read_text())["sha256"] == file_sha256(path))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False
