"""The way to an MLflow store: a client of it, after a look at what a database file really is."""

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from kdsearch.files import write_atomically
from kdsearch.masking import without_user
from kdsearch.mistakes import Mistake
from kdsearch.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"


def connect(workspace: Workspace) -> "MlflowClient":
    """A client of the store that MLFLOW_TRACKING_URI names, else of the workspace's own. Raises `Mistake` as
    `check_store` does.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or workspace.tracking_uri
    # a server that does not answer is given up on in seconds, not in MLflow's default of many minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it would for every run that ends
    check_store(uri)
    _make_whole(uri)
    uri = _without_password(uri)
    from mlflow import MlflowClient

    _quieten()
    return MlflowClient(tracking_uri=uri)


def _quieten() -> None:
    """After MLflow's import, which sets its loggers up."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # it logs the traceback of what it raises, of which our writer says one line
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _without_password(uri: str) -> str:
    """The address of a server alone, which MLflow shows and logs; its user and password go where it keeps them."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.username is None:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return without_user(uri)


def _make_whole(uri: str) -> None:
    """Have a new SQLite file come with all of MLflow's tables or not at all: where a run is killed while MLflow makes
    them, what is left is taken for another version's, by MLflow too.
    """
    path = Path(uri.removeprefix(_SQLITE))
    if not uri.startswith(_SQLITE) or path.exists():
        return
    import sqlalchemy
    from mlflow.store.db.utils import _initialize_tables

    _quieten()

    def make(temporary: Path) -> None:
        engine = sqlalchemy.create_engine(f"{_SQLITE}{temporary}")
        try:
            _initialize_tables(engine)  # type: ignore[no-untyped-call]
        finally:
            engine.dispose()

    lock = path.with_name(f".{path.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):  # another study's run in this workspace
        if not path.exists():
            write_atomically(path, make)
        lock.unlink(missing_ok=True)


def check_store(uri: str) -> None:
    """Raise `Mistake` where the SQLite file at `uri` is none of MLflow's, or of another version of it.

    MLflow itself would create its tables in a foreign database. A file that is not there yet is no mistake, and a
    server or a database that is none of SQLite's speaks for itself.
    """
    path = Path(uri.removeprefix(_SQLITE))
    if not uri.startswith(_SQLITE) or not path.exists():
        return
    remedy = "move it away, or name another store with MLFLOW_TRACKING_URI"
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
            kept = "alembic_version" in tables
            versions = [name for (name,) in database.execute("select version_num from alembic_version")] if kept else []
    except sqlite3.DatabaseError as error:
        raise Mistake(f"{path} is no MLflow database ({error}); {remedy}") from None
    if tables and not {"experiments", "runs", "metrics"} <= tables:
        raise Mistake(f"{path} is another program's database (its tables: {', '.join(sorted(tables)[:5])}); {remedy}")
    for version in versions:
        _check_version(path, version)


def _check_version(path: Path, version: str) -> None:
    import mlflow
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    migrations = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    if version in migrations.get_heads():
        return
    try:
        migrations.get_revision(version)
    except CommandError:
        raise Mistake(
            f"{path} was written by a newer MLflow than {mlflow.__version__} (its version is {version}); "
            "update MLflow, or move the file away: the next run of a study writes a new one"
        ) from None
    raise Mistake(
        f"{path} was written by an older MLflow (its version is {version}); "
        f"back it up and run: mlflow db upgrade {_SQLITE}{path}"
    )
