"""Good files of every format that kdsearch reads data from, in small: to be spoiled."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

_LABELS = np.arange(30) % 3
_IDX = {"train": ("train", _LABELS), "test": ("t10k", _LABELS[:12])}


def write_data_files(folder: Path) -> None:
    """`mine.npz`, `tokens.npz`, `idx/`, `cifar/`, `pictures/` and `pictures.zip`."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    np.savez(folder / "mine.npz", x=random.integers(0, 255, (30, 4, 4), dtype=np.uint8), y=_LABELS)
    np.savez(folder / "tokens.npz", x=random.integers(0, 7, (30, 5)), y=_LABELS)
    for name, labels in _IDX.values():
        images = random.integers(0, 255, (len(labels), 5, 4))
        _write(folder / "idx" / f"{name}-images-idx3-ubyte", _encoded(images))
        _write(folder / "idx" / f"{name}-labels-idx1-ubyte", _encoded(labels))
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        rows = np.concatenate([np.arange(10)[:, None], random.integers(0, 255, (10, 3072))], axis=1)
        _write(folder / "cifar" / "cifar-10-batches-bin" / f"{name}.bin", rows.astype(np.uint8).tobytes())
    names = "\n".join(f"class{k}" for k in range(10))
    _write(folder / "cifar" / "cifar-10-batches-bin" / "batches.meta.txt", names.encode())
    for number, label in enumerate(("blue", "red")):
        for k in range(8):
            path = folder / "pictures" / label / f"{k}.{'png' if k % 2 else 'jpg'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6, 4), (200 * number, 9 * k, 90)).save(path)
    shutil.make_archive(str(folder / "pictures"), "zip", folder / "pictures")


def _encoded(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(length.to_bytes(4, "big") for length in values.shape)
    return header + values.astype(np.uint8).tobytes()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
