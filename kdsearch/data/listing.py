"""Which pictures there are, of which class and split.

Either CLASS/... or train/CLASS/..., test/CLASS/... and, if there is one, validation/CLASS/... or val/CLASS/... (the
splits' names in any case); a single folder around all of it is looked into. A picture's class is the first folder of
its path; folders below make no difference. Pictures that lie in no folder are passed over; files of other kinds are
told of, except for the notes and leftovers that lie beside pictures anywhere.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kdsearch.data.members import members
from kdsearch.mistakes import Mistake

_SUFFIXES = (".jpg", ".jpeg", ".png")
_OTHER_PICTURES = (
    *(".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jfif", ".jp2", ".jxl"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".tga"),
)
_NOTES = (
    *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".html", ".htm", ".pdf"),
    *(".py", ".ipynb", ".log", ".db", ".ini"),
)
_PARTS = {"train": "train", "test": "test", "validation": "validation", "val": "validation"}
_LAYOUTS = "CLASS/*.jpg (or .png), or train/CLASS/*.jpg and test/CLASS/*.jpg"
_NAMED = 3

Endings = Mapping[str, int]
"""How many files have which ending."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Pictures by part, each part's sorted by name, so that their order is the same on any machine.

    `names` are relative to the source; `parts` gives each part's number of them, in their order (`train` has all where
    the source does not come split); `labels` index `class_names`, which are sorted. `passed_over` counts the files in
    folders that look like pictures and are neither JPEG nor PNG; `lost` are the folders of a class (or a split) all of
    whose files are of other kinds.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    parts: dict[str, int]
    class_names: tuple[str, ...]
    passed_over: Endings
    lost: Mapping[str, Endings]


@dataclass(frozen=True)
class _Placed:
    """A file's name, and its path from where the layout begins."""

    name: str
    path: tuple[str, ...]

    @property
    def shown(self) -> bool:
        return _ending(self.name) in _SUFFIXES

    @property
    def part(self) -> str | None:
        return _PARTS.get(self.path[0].lower())


def state_of(source: Path) -> str:
    """What changes when the source does: name, size and time of change of each file; a zip counts as one file.

    Raises `Mistake` where there is no such folder or file.
    """
    if source.is_dir():
        found = [source / name for name in members(source) if _ending(name) not in _NOTES]
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

    Raises `Mistake` for a source without any, with one class, with test classes that its training part lacks, with two
    folders for one split, and for what `members` refuses.
    """
    placed = _placed(source, sorted(name for name in members(source) if _ending(name) not in _NOTES))
    split = _comes_split(source, placed)
    lost = _lost(placed, split)
    by_part = _parted(source, [file for file in placed if file.shown], split)
    _check_classes(source, by_part, lost)
    class_names = tuple(sorted({label for files in by_part.values() for _, label in files}))
    if len(class_names) < 2:
        raise Mistake(
            f"{source} has one class, {class_names[0]!r}; a student needs at least two to tell apart, each in a folder "
            f"of its own: {_LAYOUTS}{_nor(lost)}"
        )
    number = {label: k for k, label in enumerate(class_names)}
    return Listing(
        names=tuple(name for files in by_part.values() for name, _ in files),
        labels=tuple(number[label] for files in by_part.values() for _, label in files),
        parts={part: len(files) for part, files in by_part.items()},
        class_names=class_names,
        passed_over=Counter(end for file in placed if (end := _ending(file.name)) in _OTHER_PICTURES),
        lost=lost,
    )


def told(endings: Endings) -> str:
    """`3 .webp, 1 .gif`, the most frequent first."""
    return ", ".join(f"{count} {end or 'without an ending'}" for end, count in Counter(endings).most_common())


def check_none_lost(source: Path, lost: Mapping[str, Endings]) -> None:
    """Raise `Mistake` where a folder's files would all be left out, and with them a class or a split."""
    if lost:
        raise Mistake(
            f"{source} has no JPEG or PNG picture in {_folders(lost)}; convert them, or leave these folders out with "
            "skip_unreadable=True"
        )


def _folders(lost: Mapping[str, Endings]) -> str:
    more = f" and {len(lost) - _NAMED} more folders" if len(lost) > _NAMED else ""
    return ", ".join(f"{folder}/ ({told(endings)})" for folder, endings in list(lost.items())[:_NAMED]) + more


def _nor(lost: Mapping[str, Endings]) -> str:
    return f"; there is no JPEG or PNG in {_folders(lost)}: convert them" if lost else ""


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _placed(source: Path, names: Sequence[str]) -> list[_Placed]:
    """The files that lie in folders; a single folder around all of them is taken off their paths."""
    placed = [_Placed(name, path) for name in names if len(path := PurePosixPath(name).parts) > 1]
    shown = [file for file in placed if file.shown]
    if not shown:
        has = f", and has {told(Counter(map(_ending, names)))}" if names else ""
        raise Mistake(f"{source} holds no picture of a class; it needs {_LAYOUTS}{has}")
    around = len({file.path[0] for file in placed}) == 1 and placed[0].part is None
    if not around or any(len(file.path) == 2 for file in shown):
        return placed
    return [_Placed(file.name, file.path[1:]) for file in placed if len(file.path) > 2]


def _comes_split(source: Path, placed: Sequence[_Placed]) -> bool:
    """Whether the first folders are splits, rather than classes."""
    folders = {file.path[0] for file in placed}
    meant = {part: sorted(name for name in folders if _PARTS.get(name.lower()) == part) for part in _PARTS.values()}
    for part, names in meant.items():
        if len(names) > 1:
            raise Mistake(f"{source} has both {'/ and '.join(names)}/ for {part}; keep one of them")
    in_train = [file for file in placed if file.part == "train"]
    if not in_train or any(len(file.path) == 2 for file in in_train if file.shown):
        return False
    if not any(file.shown for file in in_train):
        raise Mistake(
            f"{source} has no JPEG or PNG picture in {meant['train'][0]}/ "
            f"({told(Counter(_ending(file.name) for file in in_train))}); convert them"
        )
    return True


def _parted(source: Path, shown: Sequence[_Placed], split: bool) -> dict[str, list[tuple[str, str]]]:
    """(name, class) of each picture that lies in a folder, by part."""
    if not split:
        return {"train": [(file.name, file.path[0]) for file in shown]}
    found: dict[str, list[tuple[str, str]]] = {}
    for file in shown:
        if file.part is None or len(file.path) == 2:
            raise Mistake(
                f"{source} has train/CLASS/..., so all its pictures must lie in train/CLASS/, test/CLASS/ or "
                f"validation/CLASS/; {file.name} does not: move it elsewhere"
            )
        found.setdefault(file.part, []).append((file.name, file.path[1]))
    return found


def _lost(placed: Sequence[_Placed], split: bool) -> dict[str, Endings]:
    """Of the folders of classes, and of splits, those without any picture, with what they hold instead."""
    kept: set[tuple[str, ...]] = set()
    others: dict[tuple[str, ...], Counter[str]] = {}
    for file in placed:
        depth = 2 if split and file.part is not None and len(file.path) > 2 else 1
        folder = file.path[:depth]
        if file.shown:
            kept |= {folder, folder[:1]}
        else:
            others.setdefault(folder, Counter())[_ending(file.name)] += 1
    return {"/".join(folder): endings for folder, endings in others.items() if folder not in kept}


def _check_classes(source: Path, by_part: Mapping[str, Sequence[tuple[str, str]]], lost: Mapping[str, Endings]) -> None:
    known = {label for _, label in by_part["train"]}
    for part, files in by_part.items():
        if strangers := sorted({label for _, label in files} - known):
            raise Mistake(
                f"{source}: {part}/ has classes that train/ lacks: {', '.join(strangers[:5])}; the folders of classes "
                f"must have the same names in both{_nor(lost)}"
            )
