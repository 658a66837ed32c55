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
OURS = frozenset({CARD, README, RECIPE, STUDY, *(known.file for known in FORMATS.values())})


def check_target(to: Path) -> None:
    """Raise `Mistake` where an export may not be put at `to`: what is there is no earlier export, or holds more, or a
    card that its owner has edited.
    """
    if to.exists() and not to.is_dir():
        raise Mistake(f"--to {to} is a file; name a folder")
    with writable(to):
        names = sorted(path.name for path in to.iterdir()) if to.is_dir() else []
    if not names:
        return
    if others := [name for name in names if name not in OURS]:
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
    """A new folder beside `to` to be filled, which takes its place at the end; where that is not reached nothing is
    left, and what was at `to` stays.
    """
    check_target(to)
    with writable(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
    try:
        yield work
        with writable(to):
            work.chmod(0o755)
            check_target(to)  # hours may have passed since
            if to.exists():
                for earlier in to.iterdir():
                    earlier.unlink()
                to.rmdir()
            work.replace(to)
    finally:
        shutil.rmtree(work, ignore_errors=True)
