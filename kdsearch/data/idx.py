"""IDX files: MNIST, Fashion-MNIST and whatever else is kept in their format.

Four files, plain or `.gz`, named as the originals or in torchvision's spelling with a dot. They are looked for in the
data folder itself and in the folders that the originals and torchvision use below it.
"""

import gzip
import hashlib
import os
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdsearch.data.base import Data, data_folder, split_off, take
from kdsearch.mistakes import Mistake

_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

# SHA-256 of the decompressed originals, in the order of _FILES
_MNIST = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
_FASHION_MNIST = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
_GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def mnist(
    root: str | os.PathLike[str] | None = None, *, train: int | None = None, validation: int = 10_000, seed: int = 0
) -> Data:
    """MNIST (LeCun et al. 1998), inputs (N, 1, 28, 28) uint8, checked against the originals' checksums.

    `root` is the folder with the files, by default the data folder (`--data`, KDSEARCH_DATA). `validation` examples
    are split off the 60,000, stratified, by `seed`; `train` keeps only so many of the others. Test is the 10,000.
    """
    return _load("mnist", _folder(root, ("", "mnist", "MNIST/raw", "raw")), _MNIST, train, validation, seed, ())


def fashion_mnist(
    root: str | os.PathLike[str] | None = None, *, train: int | None = None, validation: int = 10_000, seed: int = 0
) -> Data:
    """Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747); otherwise as `mnist`."""
    folder = _folder(root, ("", "fashion-mnist", "fashion_mnist", "FashionMNIST/raw", "raw"), _FASHION_MNIST)
    return _load("fashion_mnist", folder, _FASHION_MNIST, train, validation, seed, _GARMENTS)


def idx(
    root: str | os.PathLike[str] | None = None,
    *,
    name: str = "idx",
    train: int | None = None,
    validation: int = 10_000,
    seed: int = 0,
) -> Data:
    """Any data set in MNIST's four files (KMNIST, EMNIST's balanced split, your own), without checksums."""
    return _load(name, _folder(root, ("", name, f"{name}/raw", "raw")), None, train, validation, seed, ())


def _folder(
    root: str | os.PathLike[str] | None, below: tuple[str, ...], checksums: tuple[str, ...] | None = None
) -> Path:
    """The first of `below` in which all four files lie; with `checksums`, one whose files are those is preferred.

    MNIST and Fashion-MNIST carry the same file names, so that a folder's name alone does not tell them apart.
    """
    base = data_folder(root)
    candidates = [base / part for part in below]
    whole = [folder for folder in candidates if all(_find(folder, file) for file in _FILES)]
    if whole and checksums is not None and len(whole) > 1:
        # the small test labels tell the two apart at little cost
        for folder in whole:
            found = _find(folder, _FILES[3])
            if found is not None and hashlib.sha256(_bytes(found)).hexdigest() == checksums[3]:
                return folder
    if whole:
        return whole[0]
    nearest = max(candidates, key=lambda folder: sum(_find(folder, file) is not None for file in _FILES))
    missing = ", ".join(f"{file}[.gz]" for file in _FILES if _find(nearest, file) is None)
    searched = ", ".join(part or "." for part in below)
    raise Mistake(f"{base} lacks {missing} (looked in it and below it in: {searched}); name another folder with --data")


def _find(folder: Path, file: str) -> Path | None:
    spellings = (file, file.replace("-idx", ".idx"))
    paths = (folder / (spelling + ending) for spelling in spellings for ending in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def _bytes(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Mistake(f"{path} is truncated or altered ({error}); fetch the original again") from None


def _parse(path: Path, checksum: str | None) -> Tensor:
    content = _bytes(path)
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise Mistake(f"{path} is no IDX file of unsigned bytes (it begins with {content[:4].hex() or 'nothing'})")
    axes = content[3]
    shape = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(axes)]
    expected = 4 + 4 * axes + int(np.prod(shape))
    if len(content) != expected:
        raise Mistake(f"{path} is truncated or altered: {len(content)} bytes where its header promises {expected}")
    if checksum is not None and hashlib.sha256(content).hexdigest() != checksum:
        raise Mistake(
            f"{path} is altered: its checksum is not the original's; fetch the original again, "
            "or read data of your own in this format with idx(...)"
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy())


def _load(
    name: str,
    folder: Path,
    checksums: tuple[str, ...] | None,
    train: int | None,
    validation: int,
    seed: int,
    class_names: tuple[str, ...],
) -> Data:
    paths = [path for file in _FILES if (path := _find(folder, file)) is not None]
    parts = [_parse(path, checksum) for path, checksum in zip(paths, checksums or (None,) * 4, strict=True)]
    for images, labels, path in ((parts[0], parts[1], paths[0]), (parts[2], parts[3], paths[2])):
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise Mistake(
                f"{path}: images of shape {tuple(images.shape)} and labels of shape {tuple(labels.shape)} do not match"
            )
    inputs, labels = parts[0].unsqueeze(1), parts[1].long()
    kept, held = split_off(labels, validation, seed, name)
    if train is not None and train != len(kept):
        _, chosen = split_off(labels[kept], train, seed, name)
        kept = kept[chosen]
    return Data(
        name=name if train is None else f"{name}-{train}",
        train=take(inputs, labels, kept),
        validation=take(inputs, labels, held),
        test=take(parts[2].unsqueeze(1), parts[3].long(), torch.arange(len(parts[3]))),
        class_names=class_names,
    )
