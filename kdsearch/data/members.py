"""Which files there are: below a folder, or inside a zip file that is never unpacked."""

import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from kdsearch.mistakes import Mistake

_MAC = "__MACOSX"
"""The folder in which macOS puts what it adds to zips."""


def members(source: Path) -> list[str]:
    """The names of all files, relative to `source` and with slashes, in no order.

    Passed over is what is hidden (a folder or file whose name begins with a dot) and what macOS adds to zips. Links to
    folders are followed, but each folder is read once, so that a link back into the source adds nothing; a folder's own
    place goes before links to it.

    Raises `Mistake` for a zip that cannot be read, that holds a name twice, or whose names lead out of it.
    """
    names = _in_folder(source) if source.is_dir() else _in_zip(source)
    return [name for name in names if not any(_hidden(part) for part in PurePosixPath(name).parts)]


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == _MAC


def _in_folder(source: Path) -> Iterator[str]:
    read: set[str] = set()
    waiting = [str(source)]  # links wait until all that they may lead to has been read in its own place
    while waiting:
        for folder, below, files in os.walk(waiting.pop(0)):
            real = os.path.realpath(folder)
            if real in read:
                below.clear()
                continue
            read.add(real)
            below[:] = sorted(name for name in below if not _hidden(name))
            waiting += [path for path in (os.path.join(folder, name) for name in below) if os.path.islink(path)]
            yield from (Path(folder, file).relative_to(source).as_posix() for file in files)


def _in_zip(source: Path) -> list[str]:
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise Mistake(f"{source} cannot be read as a zip file ({error}); fetch it again, or name a folder") from None
    for name in names:
        if name.startswith(("/", "\\")) or ".." in PurePosixPath(name.replace("\\", "/")).parts or name[1:2] == ":":
            raise Mistake(
                f"{source} holds {name!r}, a name that leads out of it; nothing is read from such a zip: pack the "
                "folder anew, with names relative to it"
            )
    files = [name for name in names if not name.endswith("/")]
    if twice := [name for name, count in Counter(files).items() if count > 1]:
        raise Mistake(f"{source} holds {twice[0]!r} more than once; pack the folder anew")
    return files
