"""Folders and zips of small pictures, each class of one colour."""

import zipfile
from pathlib import Path

from PIL import Image

COLOURS = {"blue": (0, 0, 250), "red": (250, 0, 0), "white": (250, 250, 250)}


def picture(path: Path, colour=(9, 9, 9), size=(6, 4), mode="RGB", **options) -> None:
    """`size` is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size[1], size[0]), colour).convert(mode).save(path, **options)


def folder_of(root: Path, each: int = 10, size=(6, 4), below: str = "") -> Path:
    for name, colour in COLOURS.items():
        for k in range(each):
            picture(root / below / name / f"{k:03}.png", colour, size)
    return root


def zipped(root: Path, to: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(to, "w") as archive:
        for path in sorted(root.rglob("*.*"), reverse=True):
            archive.write(path, prefix + path.relative_to(root).as_posix())
    return to
