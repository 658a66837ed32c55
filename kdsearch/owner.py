"""Whose folder it is: the id of the study that its files are of, kept beside them.

Studies of one name in two databases would else share a workspace's folder, and each take the other's files for its own
or for nobody's. A folder of a version that kept no id is the study's that is driven there next.
"""

from pathlib import Path

from kdsearch.files import DamagedError, read_note, writable, write_note
from kdsearch.mistakes import Mistake

OWNER = "study.json"
_RESULTS = ("students", "checkpoints", "confirm")
"""What only a study that is stored somewhere has files in."""


def owner_of(folder: Path) -> str | None:
    """The id of the study that the folder is of; None where it is not said, or what says it is damaged: whoever drives
    the study there next says it anew.
    """
    try:
        owner = read_note(folder / OWNER).get("id")
    except (FileNotFoundError, NotADirectoryError, DamagedError):
        return None
    return owner if isinstance(owner, str) and owner else None


def is_damaged(folder: Path) -> bool:
    """Whether there is something that ought to say whose the folder is, and does not."""
    return (folder / OWNER).exists() and owner_of(folder) is None


def check_owner(folder: Path, study: str | None) -> None:
    """Raise `Mistake` where the folder is not that of the study with the id `study`. None stands for one that the
    database does not have (yet): its folder has no owner and no results.
    """
    owner = owner_of(folder)
    results = results_in(folder)
    if owner == study if owner is not None else study is not None or not results:
        return
    held = f" ({results})" if results else ""
    raise Mistake(
        f"the folder {folder} is of another study of that name, in another database{held}; name its database with "
        "--storage, or take another --workspace or name; where that study is gone for good, move the folder away"
    )


def claim(folder: Path, study: str) -> None:
    """Note whose folder it is, where nobody has. For who drives the study alone, and has checked."""
    if owner_of(folder) is None:
        with writable(folder):
            write_note(folder / OWNER, {"id": study})


def results_in(folder: Path) -> str:
    """In words, how many files there are that a training has cost; empty where none are."""
    found = {kind: len(list((folder / kind).glob("*.safetensors"))) for kind in _RESULTS}
    return ", ".join(f"{count} files in {kind}" for kind, count in found.items() if count)
