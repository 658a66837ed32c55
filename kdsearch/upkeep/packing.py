"""`kdsearch archive`: a whole study as one file, with the checksum of everything in it."""

import hashlib
import io
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Protocol, cast

from kdsearch import __version__
from kdsearch.data.bar import bar
from kdsearch.database import Database
from kdsearch.driving import alone, at_work
from kdsearch.files import file_sha256, void, writable, write_atomically
from kdsearch.lease import AtWorkError
from kdsearch.mistakes import DiskError, Mistake
from kdsearch.opening import open_database
from kdsearch.owner import check_owner
from kdsearch.store import Store
from kdsearch.stored import Where
from kdsearch.upkeep.bundle import MANIFEST, ROWS, Manifest, Member, may_be_kept
from kdsearch.upkeep.rows import Rows
from kdsearch.upkeep.shelf import all_files
from kdsearch.upkeep.transcript import transcribe
from kdsearch.workspace import Workspace

_LEVEL = 1
"""Weights hardly shrink: more would cost minutes for nothing."""


def archive_study(
    name: str,
    to: Where,
    *,
    signals: bool = False,
    say: Callable[[str], None] = void,
    workspace: Where | None = None,
    storage: str | None = None,
) -> Path:
    """Write the study's rows and files to `to`, a .tar.gz or a .zip; gives its path. What can be had again is left out:
    the data, and unless `signals` says otherwise the teacher's signals; MLflow's copy too, which a restore makes anew.

    Raises `Mistake` where there is no such study, its driver is alive, or `to` is there already or cannot be written:
    nothing is left then. Where the study's disk is full, read-only or failing nothing can keep a driver off: `say` is
    told so, and what changes meanwhile is refused.
    """
    target, place = Path(to), Workspace.chosen(workspace)
    if not target.name.endswith((".tar.gz", ".zip")):
        raise Mistake(f"an archive's name must end in .tar.gz or .zip, got {target}")
    if target.exists():
        raise Mistake(f"{target} exists already; name another file")
    opened = Rows(open_database(storage or place.storage_url, create=False))
    store, folder = Store(opened.storage, name), place.study(name)
    _check_files(store, folder)
    with _undisturbed(opened.database, folder, say), tempfile.TemporaryDirectory(prefix="kdsearch-archive-") as scratch:
        rows = Path(scratch) / ROWS
        ledger = store.ledger.name
        names = [name, ledger] if ledger in opened.all_names() else [name]
        with rows.open("w", encoding="utf-8") as file:
            file.writelines(transcribe(opened.storage, names))
        sources = {ROWS: rows, **_files(folder, signals)}
        with writable(target):
            write_atomically(target, lambda temporary: _write(temporary, target.name, name, sources))
    return target


def _check_files(store: Store, folder: Path) -> None:
    """Raise `Mistake` where the study has students and this workspace not even its folder, or another's."""
    check_owner(folder, store.facts.id)
    if not folder.is_dir() and (lacking := sum(record.state == "complete" for record in store.records())):
        raise Mistake(
            f"there is no {folder}, so the archive would lack the students of {lacking} complete trials; name the "
            "workspace that has them with --workspace"
        )


@contextmanager
def _undisturbed(database: Database, folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Alone with the study, or, on a disk that cannot be written, where nobody is seen at work."""
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(database, folder, tell=say))
        except DiskError as error:
            if at_work(database, folder):
                raise AtWorkError(f"a run of the study {folder.name!r} is at work; wait for it or stop it") from None
            say(f"no lock can be had that keeps searches from beginning meanwhile: {error}")
        yield


def _files(folder: Path, signals: bool) -> dict[str, Path]:
    """The study's files by the names that they get."""
    return {
        f"files/{kind}/{path.name}": path
        for kind, path in all_files(folder)
        if kind != "data" and (signals or kind != "signals") and may_be_kept(kind, path.name)
    }


def _write(temporary: Path, shown_name: str, name: str, sources: dict[str, Path]) -> None:
    with bar(f"archiving {name}", len(sources), "files") as advance:
        members = {}
        for member, path in sources.items():
            members[member] = Member(sha256=file_sha256(path), size_bytes=path.stat().st_size)
        packages = {"kdsearch": __version__, **{package: version(package) for package in ("optuna", "torch")}}
        made = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(study=name, made=made, versions=packages, members=members)
        with _packer(temporary, shown_name) as packer:
            content = manifest.to_bytes()
            packer.add(MANIFEST, io.BytesIO(content), len(content))
            for member, path in sources.items():
                with path.open("rb") as file:
                    reader = _Hashing(file)
                    packer.add(member, cast(IO[bytes], reader), members[member].size_bytes)
                if reader.sha256.hexdigest() != members[member].sha256:
                    raise Mistake(f"{path} changed while it was archived; end what writes to it, and try again")
                advance(1)


class _Packer(Protocol):
    def add(self, name: str, file: IO[bytes], size_bytes: int) -> None: ...


class _Tar:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    def add(self, name: str, file: IO[bytes], size_bytes: int) -> None:
        info = tarfile.TarInfo(name)  # of nobody, at no time: an archive does not say who made it
        info.size = size_bytes
        self._archive.addfile(info, file)


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, file: IO[bytes], size_bytes: int) -> None:
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        with self._archive.open(info, "w", force_zip64=size_bytes >= 2**31) as member:
            while chunk := file.read(2**20):
                member.write(chunk)


@contextmanager
def _packer(path: Path, shown_name: str) -> Iterator[_Packer]:
    if shown_name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", compresslevel=_LEVEL) as archive:
            yield _Zip(archive)
    else:
        with tarfile.open(path, "w:gz", compresslevel=_LEVEL) as archive:
            yield _Tar(archive)


class _Hashing(io.RawIOBase):
    """A file whose checksum is known once it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data
