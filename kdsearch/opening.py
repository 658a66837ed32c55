"""Optuna's database, opened by its URL: whatever cannot be used is a `Mistake` that says why."""

import time
from pathlib import Path

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from sqlalchemy import exc

from kdsearch.database import Database
from kdsearch.masking import masked
from kdsearch.mistakes import Mistake
from kdsearch.patience import Patience

_AT_ONCE = 5


def open_storage(url: str, *, create: bool) -> BaseStorage:
    """`open_database` behind Optuna's cache of ended trials, for who only reads."""
    return open_database(url, create=create).cached()


def open_database(url: str, *, create: bool, patience: Patience | None = None) -> Database:
    """The database at a URL. Raises `Mistake` for an unusable URL, a garbage or a foreign database; `patience` is for
    what is asked of it later.

    Where `create` is false a SQLite file that is not there is a `Mistake` rather than a new, empty database.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except (exc.ArgumentError, ValueError):  # a port that is no number is a ValueError
        raise Mistake(
            f"--storage must be a database URL such as sqlite:///runs/optuna.db or postgresql+psycopg://..., "
            f"got {masked(url)!r}"
        ) from None
    shown = masked(parsed.render_as_string())
    try:
        if parsed.get_backend_name() == "sqlite":
            _check_sqlite(parsed, shown, create)
        return _opened(url, patience)
    except (ModuleNotFoundError, ImportError, exc.NoSuchModuleError) as error:
        raise Mistake(f"the database {shown} needs a driver that is not installed ({error})") from None
    except exc.OperationalError as error:
        raise Mistake(f"the database {shown} cannot be opened: {masked(str(error.orig))}") from None
    except (exc.DatabaseError, RuntimeError, StorageInternalError) as error:
        cause = error.__cause__ or error  # Optuna's says that something is too long
        reason = masked(str(getattr(cause, "orig", None) or cause).split("\n")[0])
        raise Mistake(f"{shown} is no database that kdsearch can use ({reason}); name another with --storage") from None


def _opened(url: str, patience: Patience | None) -> Database:
    """Of several programs that make the tables of a new database at once, one makes them: the others look again."""
    for _ in range(_AT_ONCE):
        try:
            return Database(url, patience)
        except (exc.ProgrammingError, exc.IntegrityError, exc.OperationalError) as error:
            if not any(said in str(error.orig) for said in ("already exists", "duplicate key", "UNIQUE constraint")):
                raise
            time.sleep(0.2)
    return Database(url, patience)


def _check_sqlite(url: sqlalchemy.URL, shown: str, create: bool) -> None:
    if url.database is None or url.database == ":memory:":
        raise Mistake(f"{shown} would be gone when the program ends; name a file: sqlite:///FILE.db")
    path = Path(url.database)
    if not path.exists():
        if not create:
            raise Mistake(f"there is no database {path}; run a study first, or name its --workspace or --storage")
        if not path.parent.is_dir():
            raise Mistake(f"the folder of the database {path} does not exist")
        return
    engine = sqlalchemy.create_engine(url)
    try:
        tables = set(sqlalchemy.inspect(engine).get_table_names())
        verdict = _verdict(engine) if create else "ok"  # by the one that writes: it reads the whole file
    except UnicodeDecodeError as error:
        tables, verdict = set(), f"a name in it is no text: {error}"
    finally:
        engine.dispose()
    if tables and not {"studies", "trials", "version_info"} <= tables:
        raise Mistake(
            f"{shown} is another program's database (its tables: {', '.join(sorted(tables)[:5])}); "
            "name another with --storage"
        )
    if verdict != "ok":
        raise Mistake(
            f"the database {shown} is damaged ({verdict.splitlines()[-1]}); bring a copy back, or have SQLite recover "
            f"what is whole: sqlite3 {path} .recover | sqlite3 NEW.db"
        )


def _verdict(engine: sqlalchemy.Engine) -> str:
    with engine.connect() as connection:
        return str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
