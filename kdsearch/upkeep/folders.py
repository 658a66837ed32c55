"""What may be wrong with a study's folder as a whole: it is not there, it is another study's, or its study is not."""

from collections.abc import Iterator
from pathlib import Path

from kdsearch.mistakes import Mistake
from kdsearch.owner import OWNER, check_owner, claim, is_damaged
from kdsearch.upkeep.flaw import Flaw
from kdsearch.upkeep.shelf import size_bytes


def missing(name: str, folder: Path) -> Flaw:
    return Flaw(
        kind="folder missing",
        level="note",
        what=f"there are no files of {name} in this workspace",
        where=str(folder),
        costs="nothing where they are in another workspace; else students can only be exported with --recreate",
        remedy="name the workspace that has them with --workspace",
    )


def of_another(folder: Path, study: str) -> Flaw | None:
    """That the folder is not that of the study with this id, or that this cannot be told; None where it is."""
    try:
        check_owner(folder, study)
    except Mistake as mistake:
        return Flaw(
            kind="folder of another study",
            level="error",
            what=str(mistake),
            where=str(folder),
            costs="this study's files are not there, or among another's; none are looked at",
            remedy="name the folder's database with --storage, or the workspace that has this study's with --workspace",
        )
    return None


def without_owner(folder: Path, study: str) -> Iterator[Flaw]:
    """That what says whose folder it is, the study's with this id, is damaged."""
    if not is_damaged(folder):
        return

    def mend() -> str:
        claim(folder, study)
        return f"wrote {folder / OWNER} anew"

    yield Flaw(
        kind="damaged owner",
        level="warning",
        what=f"{OWNER} is torn or altered, which says whose folder this is",
        where=str(folder / OWNER),
        costs="until it is written anew, another study of that name would not be kept from these files",
        remedy="the next run writes it anew, as does kdsearch doctor --repair",
        mend=mend,
    )


def without_study(folder: Path) -> Flaw:
    """That the database does not have the folder's study."""
    try:
        check_owner(folder, None)
        what = f"the database has no study {folder.name}: it never came to its first trial"
        remedy = f"kdsearch delete {folder.name}"
    except Mistake:
        what = f"the database has no study {folder.name}: it is in another, or gone"
        remedy = "name its database with --storage; where that study is gone for good, remove the folder"
    return Flaw(
        kind="folder without study",
        level="note",
        what=what,
        where=str(folder),
        costs=f"{size_bytes(folder) / 1e6:,.1f} MB",
        remedy=remedy,
    )
