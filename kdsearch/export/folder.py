"""The folder of an export: made beside its place, and put there as a whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdsearch.export.formats import FORMATS
from kdsearch.files import file_sha256, writable
from kdsearch.mistakes import Mistake
from kdsearch.saved import CARD, read_card

README = "README.md"
RECIPE = "recipe.json"
STUDY = "study.py"
_LEFT_ALONE = ("__pycache__",)
"""What comes to be in an export's folder by using it."""
_WORK = ".kdsearch-"
OURS = frozenset({CARD, README, RECIPE, STUDY, *(known.file for known in FORMATS.values())})


def check_target(to: Path) -> None:
    """Raise `Mistake` where an export may not be put at `to`: what is there is no earlier export, or holds more, or a
    card that its owner has edited.
    """
    if to.exists() and not to.is_dir():
        raise Mistake(f"--to {to} is a file; name a folder")
    with writable(to):
        found = sorted(to.iterdir()) if to.is_dir() else []
    names = [path.name for path in found if path.name not in _LEFT_ALONE and not path.name.startswith(_WORK)]
    if not names:
        return
    if others := [path.name for path in found if path.name in names and (path.name not in OURS or path.is_dir())]:
        raise Mistake(f"the folder {to} is not empty: it holds {', '.join(others[:5])}; name another")
    if CARD not in names:
        raise Mistake(f"the folder {to} holds {', '.join(names)} but no {CARD}, so it is no export; name another")
    if README in names and _edited(to):
        raise Mistake(f"{to / README} was edited since it was written; move it away, or name another folder")


def _edited(to: Path) -> bool:
    try:
        card = read_card(to)
    except Mistake:
        return False  # torn or of another version: to be replaced
    noted = card.get("files", {}).get(README)
    return noted is not None and noted["sha256"] != file_sha256(to / README)


@contextmanager
def in_place_of(to: Path) -> Iterator[Path]:
    """A new folder to be filled, whose files are at `to` at the end; where that is not reached nothing is left, and
    what was at `to` stays.

    It lies beside `to` and becomes it by one renaming. Where there is a folder already (an earlier export, a mount, the
    current directory) it lies within, and each file takes the place of its forerunner: what a kill leaves between two
    of these is told by the checksums.
    """
    check_target(to)
    with writable(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        within = to if to.is_dir() else to.parent
        work = Path(tempfile.mkdtemp(prefix=_WORK if within == to else f".{to.name}.", dir=within))
    try:
        yield work
        check_target(to)  # hours may have passed since
        with writable(to):
            work.chmod(0o755)
            if to.is_dir():
                _move_in(work, to)
            else:
                work.replace(to)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _move_in(work: Path, to: Path) -> None:
    """The files of `work` in the place of those that an earlier export has left at `to`; the card comes last."""
    fresh = sorted((path.name for path in work.iterdir()), key=lambda name: name == CARD)
    for stale in OURS.difference(fresh):
        (to / stale).unlink(missing_ok=True)
    for name in fresh:
        (work / name).replace(to / name)
