"""`kdsearch restore`: an archived study brought into a workspace and a database, whole or not at all.

The archive is unpacked beside its place and checked; its rows are written to the database as a study that every command
refuses; the folder takes its name; and only then the study is made one. What goes wrong before leaves nothing; what a
kill leaves is refused by name, and removed by `kdsearch delete` and `kdsearch doctor --repair`.
"""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from kdsearch.files import void, writable
from kdsearch.mistakes import Mistake
from kdsearch.opening import open_database
from kdsearch.owner import claim
from kdsearch.results import Results
from kdsearch.store import Store
from kdsearch.stored import Where
from kdsearch.upkeep.bundle import ROWS
from kdsearch.upkeep.mirrored import Copy
from kdsearch.upkeep.rows import Rows
from kdsearch.upkeep.transcript import Transcript
from kdsearch.upkeep.unpacking import opened
from kdsearch.workspace import Workspace


def restore_study(
    file: Where,
    *,
    most_gb: float = 20.0,
    track: bool = True,
    say: Callable[[str], None] = void,
    workspace: Where | None = None,
    storage: str | None = None,
) -> Results:
    """Bring the study that `kdsearch archive` wrote to `file` into the workspace and its database, under its own name,
    and mirror it to MLflow (unless `track` is false; one that is away is told to `say`, and a later run mirrors it).
    Which study file it was made from is told to `say` and forgotten: it is code, and an archive may be anybody's.

    `most_gb` limits what it may unpack to. Raises `Mistake`, with nothing left behind, for whatever is wrong with the
    archive, where a study or a folder of that name is there, and where the disk is full.
    """
    place = Workspace.chosen(workspace)
    place.make()
    with ExitStack() as undo:
        with opened(Path(file), most_gb * 1e9) as archive:
            name = archive.manifest.study
            rows = Rows(open_database(storage or place.storage_url, create=True))
            _check_free(place, rows, name)
            with writable(place.root):
                beside = Path(tempfile.mkdtemp(prefix=f".restored-{name}-", dir=place.root))
            undo.callback(shutil.rmtree, beside, ignore_errors=True)
            archive.unpack(beside)
        try:
            transcript = Transcript(beside / ROWS, name)
        except Mistake as mistake:
            raise Mistake(f"the archive {file} is not restored: {mistake}") from None
        (beside / ROWS).unlink()
        _settle(place, rows, transcript, beside)
        undo.pop_all()
    if transcript.said_file is not None:
        say(f"it says that its study file was {transcript.said_file}; what needs the file is told where: --study FILE")
    store = Store(rows.storage, name)
    results = Results.of(store)
    if track:
        try:
            Copy(place, store.facts, results.records, results.confirmed).mirror()
        except Mistake as mistake:
            say(f"the study is restored; {mistake}")
    return results


def _check_free(place: Workspace, rows: Rows, name: str) -> None:
    if name in rows.all_names():
        raise Mistake(f"there is a study {name!r} already; restore into another --workspace, or delete that one first")
    if place.study(name).exists():
        raise Mistake(
            f"the folder {place.study(name)} is there already, of a study in another database or one that was never "
            "begun; restore into another --workspace, or move it away"
        )


def _settle(place: Workspace, rows: Rows, transcript: Transcript, beside: Path) -> None:
    """Rows and folder take their places; if one of them cannot, the other does not."""
    name = transcript.name
    with ExitStack() as undo:
        undo.callback(rows.erase_restored, name)
        transcript.begin(rows.storage)
        claim(beside, transcript.id)
        with writable(place.study(name)):
            beside.chmod(0o755)
            beside.rename(place.study(name))
        undo.callback(shutil.rmtree, place.study(name), ignore_errors=True)
        transcript.commit(rows.storage)
        undo.pop_all()
