"""Pictures in folders, or in a zip file: a folder for each class, decoded once and kept."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdsearch.data.base import Data, data_folder
from kdsearch.data.cache import Entry, cached
from kdsearch.data.decoding import decode
from kdsearch.data.listing import check_none_lost, listing, state_of, told
from kdsearch.data.parting import partition
from kdsearch.mistakes import Mistake

_FORMAT = 2
"""Of what is kept; another number decodes anew."""


def image_folder(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    grey: bool = False,
    skip_unreadable: bool = False,
    train: int | None = None,
    validation: float | int = 0.2,
    test: float | int = 0.2,
    seed: int = 0,
    name: str | None = None,
    memory_gb: float = 2.0,
) -> Data:
    """JPEG and PNG pictures, a folder for each class: CLASS/..., or train/CLASS/... with test/CLASS/... and, if there
    is one, validation/CLASS/... or val/CLASS/... (or Train/, TEST/, ...); inputs are (N, 3, H, W) uint8, with `grey`
    (N, 1, H, W).

    `path` is the folder or a zip file of it, which is read in place; a relative one is looked up in the data folder
    when it is not there as it stands. Splits that it lacks are taken from what it has, stratified by `seed`: a whole
    number is so many examples, a fraction is of all that is not test (`validation`) or of all (`test`). `train` keeps
    only so many of the other examples. Classes are numbered by their sorted names; pictures are in the order of theirs.

    All pictures are converted to 8-bit RGB (grey ones get three equal channels; transparency is dropped), to one
    channel with `grey`, and turned as their EXIF note says. `size` (H, W) resizes those that differ from it, without
    keeping their proportions; without it all must have one size. They are decoded once, by all cores, and kept in the
    cache folder (KDSEARCH_CACHE, else ~/.cache/kdsearch) until a file's name, size or time changes. A split of more
    than `memory_gb` is mapped from the disk.

    Raises `Mistake` for files that cannot be read and for folders of classes without any JPEG or PNG, unless
    `skip_unreadable`, which leaves them out and says how many. Pictures of other formats beside those are left out and
    counted on standard error.
    """
    source = _found(path)
    sides = size if isinstance(size, (tuple, list)) else ()
    if size is not None and (len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides)):
        raise Mistake(f"size must be (height, width) in pixels, each at least 1, got {size!r}")
    kept = _kept(source, size, grey, skip_unreadable)
    if not skip_unreadable:
        check_none_lost(source, kept.note["lost"])
    unreadable: dict[str, str] = kept.note["unreadable"]
    if unreadable and not skip_unreadable:
        first, reason = next(iter(unreadable.items()))
        more = f", and {len(unreadable) - 1} more files" if len(unreadable) > 1 else ""
        raise Mistake(
            f"{source}: {first} cannot be read ({reason}){more}; mend or remove what cannot be read, or leave it out "
            "with skip_unreadable=True"
        )
    return partition(
        name if name is not None else source.stem,
        kept.arrays["inputs"],
        kept.arrays["labels"],
        _readable(source, kept),
        train=train,
        validation=validation,
        test=test,
        seed=seed,
        class_names=tuple(kept.note["class_names"]),
        memory_gb=memory_gb,
    )


def cifar10_jpeg(
    root: str | os.PathLike[str] | None = None, *, train: int | None = None, validation: int = 5_000, seed: int = 0
) -> Data:
    """CIFAR-10 (Krizhevsky 2009) recompressed as JPEG pictures of quality 75, inputs (N, 3, 32, 32) uint8.

    Reads `cifar10-images.zip` (or the folder `cifar10-images`) in `root`, by default the data folder (`--data`,
    KDSEARCH_DATA), or in `cifar10-jpeg` below it. `validation` examples are split off the 50,000, stratified, by
    `seed`; `train` keeps only so many of the others. Test is the 10,000. The compression loses detail: accuracies are
    not to be compared with published ones of CIFAR-10.
    """
    base = data_folder(root)
    looked = [
        base / below / file for below in ("", "cifar10-jpeg") for file in ("cifar10-images.zip", "cifar10-images")
    ]
    source = next((path for path in looked if path.exists()), None)
    if source is None:
        raise Mistake(
            f"{base} lacks cifar10-images.zip (looked in it and in cifar10-jpeg below it); name another folder with "
            "--data"
        )
    return image_folder(source, train=train, validation=validation, seed=seed, name="cifar10_jpeg")


def _found(path: str | os.PathLike[str]) -> Path:
    found = Path(path)
    if not found.is_absolute() and not found.exists() and os.environ.get("KDSEARCH_DATA"):
        found = data_folder(None) / found
    return found.resolve()


def _kept(source: Path, size: tuple[int, int] | None, grey: bool, skip_unreadable: bool) -> Entry:
    """The decoded pictures `inputs` (N, C, H, W) and their `labels` (N,), part after part."""

    def make(folder: Path) -> dict[str, Any]:
        found = listing(source)
        if not skip_unreadable:  # before they are decoded, which may take long
            check_none_lost(source, found.lost)
        unreadable = decode(source, list(found.names), folder / "inputs.npy", grey=grey, size=size)
        np.save(folder / "labels.npy", np.array(found.labels, dtype=np.int64))
        return {
            "parts": found.parts,
            "class_names": found.class_names,
            "unreadable": {found.names[row]: reason for row, reason in unreadable.items()},
            "black": list(unreadable),
            "passed_over": found.passed_over,
            "lost": found.lost,
        }

    content = {"format": _FORMAT, "state": state_of(source), "size": list(size) if size else None, "grey": grey}
    return cached("images", content, make)


def _readable(source: Path, kept: Entry) -> dict[str, Tensor]:
    """The rows of each part's pictures that could be read; says how many could not, and what was never tried."""
    good = torch.ones(len(kept.arrays["labels"]), dtype=torch.bool)
    good[kept.note["black"]] = False
    if kept.note["black"]:
        print(f"kdsearch: {source}: left out {len(kept.note['black'])} pictures that cannot be read", file=sys.stderr)
    if passed_over := kept.note["passed_over"]:
        print(f"kdsearch: {source}: left out {told(passed_over)}; only JPEG and PNG are read", file=sys.stderr)
    if lost := kept.note["lost"]:
        print(f"kdsearch: {source}: left out all of {', '.join(f'{folder}/' for folder in lost)}", file=sys.stderr)
    ends = torch.tensor([0, *kept.note["parts"].values()]).cumsum(0).tolist()
    rows = torch.arange(len(good))
    return {
        part: rows[first:end][good[first:end]]
        for part, first, end in zip(kept.note["parts"], ends, ends[1:], strict=False)
    }
