"""`kdsearch delete`: everything of a study, in an order in which nothing half-deleted looks whole.

First its name is condemned in the database, which every other command refuses from then on; then MLflow's copy and the
folder go; its rows last. What was interrupted, or found MLflow away, is gone on with by the same call.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from kdsearch.driving import alone
from kdsearch.files import void, writable
from kdsearch.lease import only_driver
from kdsearch.mistakes import Mistake
from kdsearch.opening import open_database
from kdsearch.owner import OWNER, check_owner
from kdsearch.store import Store
from kdsearch.stored import Where
from kdsearch.study import check_name
from kdsearch.tracking import forget
from kdsearch.upkeep.rows import Rows
from kdsearch.upkeep.shelf import SHARED, foreign_in, is_study_folder
from kdsearch.watching import Rhythm
from kdsearch.workspace import Workspace


def delete_study(
    name: str,
    *,
    say: Callable[[str], None] = void,
    rhythm: Rhythm | None = None,
    workspace: Where | None = None,
    storage: str | None = None,
) -> list[str]:
    """Delete the study: its rows and those of its ledger, its folder, its MLflow experiment and registered model. Gives
    in words what was removed.

    It has the study's lease meanwhile: a driver that seems dead is watched for as long as `rhythm` has it, which `say`
    is told. Raises `Mistake` where there is nothing of that name, its driver is alive, it is not kdsearch's, its
    folder is another study's or holds what is no study's, or MLflow is away: what is left then is condemned, and the
    same call goes on.
    """
    check_name(name)
    place = Workspace.chosen(workspace)
    rows = _rows(place, storage)
    folder = place.study(name)
    _check_ours(rows, name)
    if name in SHARED:
        raise Mistake(f"{folder} is shared by all studies of the workspace; it is not deleted with one")
    if not _stored(rows, name) and not is_study_folder(folder) and not (place.artifacts / name).is_dir():
        known = ", ".join(rows.ours()) if rows is not None else ""
        raise Mistake(f"there is no study {name!r} here; there are: {known or 'none'}")
    _check_folder(rows, folder)
    said: list[str] = []
    with alone(rows.database, folder, tell=say, rhythm=rhythm) if rows is not None else only_driver(folder):
        _check_ours(rows, name)  # who held it before us may have deleted it, and others taken its name
        _check_folder(rows, folder)
        if rows is not None and _stored(rows, name):
            rows.condemn(name, "deleted")
        said += _forgotten(place, name)
        said += _removed(folder)
        if rows is not None:
            said.append(f"removed {rows.erase(name)} trials from the database")
    if rows is not None:
        rows.forget_queue(name)
    return said


def _rows(place: Workspace, storage: str | None) -> Rows | None:
    """The database; None where the workspace has none (yet): a study that never came to its first trial has a folder
    alone.
    """
    if storage is None and not (place.root / "optuna.db").exists():
        return None
    return Rows(open_database(storage or place.storage_url, create=False))


def _stored(rows: Rows | None, name: str) -> bool:
    return rows is not None and name in rows.all_names()


def _check_ours(rows: Rows | None, name: str) -> None:
    """Raise `Mistake` for another program's study."""
    held = rows.all_names().get(name) if rows is not None else None
    if rows is not None and held is not None and not rows.is_condemned(held):
        Store(rows.storage, name)


def _check_folder(rows: Rows | None, folder: Path) -> None:
    """Raise `Mistake` where not all in the folder is the study's."""
    check_owner(folder, rows.id_of(folder.name) if rows is not None else None)
    if foreign := foreign_in(folder):
        raise Mistake(
            f"{folder} holds what is no study's: {', '.join(foreign[:5])}{', ...' if len(foreign) > 5 else ''}; move "
            "that away first"
        )


def _removed(folder: Path) -> Iterator[str]:
    """Remove the folder; where it is a link, all that is in what it leads to, and the link. A link in it goes alone."""
    with writable(folder):
        if folder.is_dir():
            for path in sorted(folder.iterdir(), key=lambda inner: inner.name == OWNER):  # whose it is, to the last
                if path.is_symlink():
                    yield f"left {path.resolve()}, to which {path} was a link"
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            yield f"removed {folder}"
        if folder.is_symlink():
            folder.unlink()
        elif folder.is_dir():
            folder.rmdir()


def _forgotten(place: Workspace, name: str) -> list[str]:
    try:
        return forget(place, name)
    except Mistake:
        raise
    except Exception as error:  # a tracking server may be away in many ways
        reason = str(error).strip().split("\n")[0][:200]
        raise Mistake(
            f"MLflow is away ({type(error).__name__}: {reason}), so {name!r} is only half deleted; "
            f"`kdsearch delete {name}` goes on when it is back"
        ) from None
