"""`kdsearch doctor`: a workspace, or one study, checked against checksums, the database and MLflow, and repaired.

A check reads only. A repair holds the study's lock and its lease, so that no driver is at work meanwhile; it does what
is safe and leaves to the user what is not.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy

from kdsearch.driving import alone as nobody_else
from kdsearch.driving import at_work
from kdsearch.files import void
from kdsearch.lease import AtWorkError, driven
from kdsearch.mistakes import Mistake
from kdsearch.opening import open_database
from kdsearch.owner import owner_of
from kdsearch.store import Store
from kdsearch.stored import Where
from kdsearch.study import check_name
from kdsearch.upkeep import against, checksums, folders, leftovers
from kdsearch.upkeep.flaw import Checkup, Flaw, removing
from kdsearch.upkeep.mirrored import Copy
from kdsearch.upkeep.rows import Rows
from kdsearch.upkeep.shelf import IDLE_SECONDS, KINDS, Orphan, size_bytes, study_folders
from kdsearch.workspace import Workspace


def diagnose(
    name: str | None = None,
    *,
    repair: bool = False,
    track: bool = True,
    idle_seconds: float = IDLE_SECONDS,
    say: Callable[[str], None] = void,
    workspace: Where | None = None,
    storage: str | None = None,
) -> Checkup:
    """Check the study `name`, or the whole workspace, with what killed processes left beside it.

    With `repair` what is safe is done: damaged files that can be computed again and orphans are removed, and MLflow
    gets what it lacks; MLflow is left out where `track` is false. Files that were written to in the last `idle_seconds`
    are taken to be somebody's; `say` is told where a repair has to look whether a driver lives. In a workspace a study
    whose driver is alive is only looked at. Raises `Mistake` where there is no such study or workspace, and for a
    repair of a study whose driver is alive.
    """
    place = Workspace.chosen(workspace)
    if name is not None:
        check_name(name)
    if not place.root.is_dir():
        raise Mistake(f"there is no workspace {place.root}; name one with --workspace")
    examination = _Examination(place, storage, repair, track, idle_seconds, say)
    examination.run(name)
    return examination.checkup()


class _Examination:
    """One check, and what was found so far."""

    def __init__(
        self,
        place: Workspace,
        storage: str | None,
        repair: bool,
        track: bool,
        idle_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self._place = place
        self._url = storage or place.storage_url
        self._repair = repair
        self._track = track
        self._idle_seconds = idle_seconds
        self._say = say
        self._studies: list[str] = []
        self._flaws: list[Flaw] = []
        self._repaired: list[str] = []
        self._left: list[Flaw] = []
        self._looked_at_only: list[str] = []

    def checkup(self) -> Checkup:
        return Checkup(
            studies=tuple(self._studies),
            flaws=tuple(self._flaws),
            repaired=tuple(self._repaired),
            left=tuple(self._left),
            looked_at_only=tuple(self._looked_at_only),
        )

    def run(self, name: str | None) -> None:
        if self._track:
            of_mlflow = against.of_a_file(self._place.root / "mlflow.db", "MLflow's pages; studies are whole")
            self._take_in(of_mlflow, False)
        rows = self._rows(name)
        if rows is None:
            return
        illegible = list(against.of_the_facts(rows, name))
        self._take_in(iter(illegible), False)
        if name is not None:
            if not illegible:
                self._study(rows, Store(rows.storage, name), alone=True)
            return
        for known in rows.ours():
            self._study(rows, Store(rows.storage, known), alone=False)
        self._take_in(against.of_the_ledgers(rows), self._repair)
        self._take_in(self._strays(rows), self._repair)
        found = [*leftovers.of_the_workspace(self._place.root, self._idle_seconds)]
        found += leftovers.of_the_temporary_folder(self._idle_seconds)
        self._take_in(map(orphan, found), self._repair)

    def _rows(self, name: str | None) -> Rows | None:
        """The database; None where it is damaged beyond use, or a workspace has none yet."""
        path = _sqlite_file(self._url)
        if path is not None and not path.exists() and name is None:
            self._take_in(self._strays(None), self._repair)
            return None
        before = len(self._flaws)
        if path is not None:
            self._take_in(against.of_a_file(path, "studies cannot be shown or continued, in whole or in part"), False)
        try:
            return Rows(open_database(self._url, create=False))
        except Mistake:
            if len(self._flaws) > before:
                return None  # said already
            raise

    def _study(self, rows: Rows, store: Store, *, alone: bool) -> None:
        name, folder = store.facts.name, self._place.study(store.facts.name)
        self._studies.append(name)
        if (anothers := folders.of_another(folder, store.facts.id)) is not None:
            if self._repair and alone:
                raise Mistake(anothers.what)
            self._take_in(iter([*against.of_the_rows(store), *against.of_the_account(store), anothers]), False)
            return
        with ExitStack() as stack:
            alive = not self._repair and at_work(rows.storage, folder)
            if self._repair:
                try:
                    stack.enter_context(nobody_else(rows.database, folder, tell=self._say))
                except AtWorkError:
                    if alone:
                        raise
                    alive = True
            if alive:
                self._looked_at_only.append(name)
            self._take_in(self._flaws_of(rows, store, folder, alive), self._repair and not alive)

    def _flaws_of(self, rows: Rows, store: Store, folder: Path, alive: bool) -> Iterator[Flaw]:
        unreadable = list(against.of_the_rows(store))
        yield from unreadable
        yield from against.of_the_account(store)
        if not folder.is_dir():
            yield folders.missing(store.facts.name, folder)
            return
        yield from folders.without_owner(folder, store.facts.id)
        yield from checksums.damaged(folder, store.facts)
        if unreadable:
            return
        files = leftovers.listed(folder, KINDS)
        records, confirmed = store.records(), store.ledger.read()
        yield from against.of_the_files(self._place, store.facts, records, confirmed, alive=alive)
        left = leftovers.of_a_study(folder, files, records, confirmed, alive=alive, idle_seconds=self._idle_seconds)
        sure = owner_of(folder) == store.facts.id
        yield from (orphan(one, mended=sure or one.kind != "students") for one in left)
        if self._track and not alive:  # the mirror of a search under way is behind it
            yield from Copy(self._place, store.facts, records, confirmed).flaws()

    def _strays(self, rows: Rows | None) -> Iterator[Flaw]:
        """Folders without a study, and studies that were half deleted or half restored."""
        known = set(rows.all_names()) if rows is not None else set()
        for name in rows.condemned() if rows is not None else ():
            yield Flaw(
                kind="study condemned",
                level="error",
                what=f"the study {name} was being deleted or restored, which was interrupted",
                where=name,
                costs="its name cannot be used",
                remedy=f"kdsearch delete {name} removes what is left of it",
            )
        for folder in study_folders(self._place.root):
            if folder.name not in known and not driven(folder):
                yield folders.without_study(folder)

    def _take_in(self, found: Iterator[Flaw], repair: bool) -> None:
        """Note the flaws; mend those that can be, all of them listed first, for mending changes what is there."""
        mended: set[str] = set()
        for flaw in list(found):
            self._flaws.append(flaw)
            if not repair or flaw.mend is None:
                self._left.append(flaw)
                continue
            try:
                said = flaw.mend()
            except (Mistake, OSError) as error:
                self._left.append(flaw)
                self._repaired.append(f"could not mend {flaw.where}: {error}")
            else:
                if said not in mended:
                    self._repaired.append(said)
                mended.add(said)


def orphan(found: Orphan, *, mended: bool = True) -> Flaw:
    """An orphan as a flaw, whose mending, if it is to have one, removes it."""
    by = "kdsearch doctor --repair" if found.kind == "students" else "kdsearch doctor --repair or kdsearch gc"
    return Flaw(
        kind=f"{found.kind} orphaned",
        level="warning",
        what=found.why,
        where=str(found.path),
        costs=f"{size_bytes(found.path) / 1e6:,.1f} MB",
        remedy=f"{by} removes it" if mended else "remove it, unless a study in another database has that trial",
        mend=removing(found.path) if mended else None,
    )


def _sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL; None for other databases and for what is no URL, of which `open_storage` speaks."""
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        return None
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None
