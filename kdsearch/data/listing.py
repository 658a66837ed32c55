"""Which pictures there are, of which class and split: in a folder, or inside a zip file that is never unpacked.

Either CLASS/... or train/CLASS/..., test/CLASS/... and, if there is one, validation/CLASS/... or val/CLASS/...; a
single folder around all of it is looked into. A picture's class is the first folder of its path; folders below make no
difference. Hidden files, what macOS adds to zips, and pictures that lie in no folder are passed over.
"""

import hashlib
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kdsearch.mistakes import Mistake

SUFFIXES = (".jpg", ".jpeg", ".png")
_PARTS = {"train": "train", "test": "test", "validation": "validation", "val": "validation"}
_LAYOUTS = "CLASS/*.jpg (or .png), or train/CLASS/*.jpg and test/CLASS/*.jpg"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Pictures by part, each part's sorted by name, so that their order is the same on any machine.

    `names` are relative to the source; `parts` gives each part's number of them, in their order (`train` has all where
    the source does not come split); `labels` index `class_names`, which are sorted.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    parts: dict[str, int]
    class_names: tuple[str, ...]


def state_of(source: Path) -> str:
    """What changes when the source does: name, size and time of change of each file; a zip counts as one file.

    Raises `Mistake` where there is no such folder or file.
    """
    if source.is_dir():
        found = [Path(folder, file) for folder, _, files in _walk(source) for file in files if _shown(file)]
    elif source.is_file():
        found = [source]
    else:
        raise Mistake(f"there is no folder or zip file {source}; name one that holds {_LAYOUTS}")
    lines = []
    for path in found:
        try:
            stat = path.stat()
            lines.append(f"{path.as_posix()}\t{stat.st_size}\t{stat.st_mtime_ns}\n")
        except OSError as error:  # a link to nowhere, which decoding will name
            lines.append(f"{path.as_posix()}\t{error.strerror}\n")
    return hashlib.sha256("".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest()


def listing(source: Path) -> Listing:
    """The pictures of a folder or a zip file.

    Raises `Mistake` for a source without any, with one class, with test classes that its training part lacks, and for
    a zip that cannot be read or whose names lead out of it.
    """
    names = sorted(_in_folder(source) if source.is_dir() else _in_zip(source))
    by_part = _parted(source, names)
    class_names = tuple(sorted({label for files in by_part.values() for _, label in files}))
    if len(class_names) < 2:
        raise Mistake(
            f"{source} has one class, {class_names[0]!r}; a student needs at least two to tell apart, each in a folder "
            f"of its own: {_LAYOUTS}"
        )
    number = {label: k for k, label in enumerate(class_names)}
    return Listing(
        names=tuple(name for files in by_part.values() for name, _ in files),
        labels=tuple(number[label] for files in by_part.values() for _, label in files),
        parts={part: len(files) for part, files in by_part.items()},
        class_names=class_names,
    )


def _walk(source: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    return os.walk(source, followlinks=True)


def _shown(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _in_folder(source: Path) -> list[str]:
    return [
        Path(folder, file).relative_to(source).as_posix()
        for folder, _, files in _walk(source)
        for file in files
        if _shown(file)
    ]


def _in_zip(source: Path) -> list[str]:
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise Mistake(f"{source} cannot be read as a zip file ({error}); fetch it again, or name a folder") from None
    for name in members:
        if name.startswith(("/", "\\")) or ".." in PurePosixPath(name.replace("\\", "/")).parts or name[1:2] == ":":
            raise Mistake(
                f"{source} holds {name!r}, a name that leads out of it; nothing is read from such a zip: pack the "
                "folder anew, with names relative to it"
            )
    names = [name for name in members if _shown(PurePosixPath(name).name) and not name.startswith("__MACOSX/")]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise Mistake(f"{source} holds {twice[0]!r} more than once; pack the folder anew")
    return names


def _parted(source: Path, names: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """(name, class) of each picture that lies in a folder, by part."""
    placed = [(name, name.split("/")) for name in names if "/" in name]
    if not placed:
        raise Mistake(f"{source} holds no picture of a class; it needs {_LAYOUTS}")
    outer = {path[0] for _, path in placed}
    if len(outer) == 1 and not outer & set(_PARTS) and all(len(path) > 2 for _, path in placed):
        placed = [(name, path[1:]) for name, path in placed]
    top = {path[0] for _, path in placed}
    if "train" not in top or any(len(path) == 2 for _, path in placed if path[0] == "train"):
        return {"train": [(name, path[0]) for name, path in placed]}
    found: dict[str, list[tuple[str, str]]] = {}
    for name, path in placed:
        if path[0] not in _PARTS or len(path) == 2:
            raise Mistake(
                f"{source} has train/CLASS/..., so all its pictures must lie in train/CLASS/, test/CLASS/ or "
                f"validation/CLASS/; {name} does not: move it elsewhere"
            )
        found.setdefault(_PARTS[path[0]], []).append((name, path[1]))
    if {"validation", "val"} <= top:
        raise Mistake(f"{source} has both validation/ and val/; keep one of them")
    _check_classes(source, found)
    return found


def _check_classes(source: Path, by_part: dict[str, list[tuple[str, str]]]) -> None:
    known = {label for _, label in by_part["train"]}
    for part, files in by_part.items():
        if strangers := sorted({label for _, label in files} - known):
            raise Mistake(
                f"{source}: {part}/ has classes that train/ lacks: {', '.join(strangers[:5])}; the folders of classes "
                "must have the same names in both"
            )
