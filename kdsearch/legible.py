"""What a database says, held against what kdsearch writes: anybody may have written it, and disks err."""

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from operator import itemgetter
from typing import Any

from optuna.exceptions import StorageInternalError
from sqlalchemy import exc

from kdsearch.mistakes import Mistake

_STRANGE = (
    *(ValueError, TypeError, LookupError, AttributeError, RecursionError, AssertionError, OverflowError),
    *(exc.SQLAlchemyError, StorageInternalError),
)
"""What Optuna and our own reading raise for rows that neither wrote."""
_AWAY = re.compile(r"locked|busy|I/O|unable to open|full|readonly")
_OF_A_LINE = itemgetter("stage", "epoch", "seconds", "evaluation_seconds")
_LACKING = "a line of its curve lacks its stage, epoch or seconds"


class IllegibleError(Mistake):
    """The database holds what was never written there. `reason` is what is wrong, without where."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["IllegibleError"], tuple[str, str]]:
        return IllegibleError, (str(self), self.reason)


@contextmanager
def legible(study: str | None = None, part: str = "") -> Iterator[None]:
    """Turn what a database holds of `study`, and neither kdsearch nor Optuna wrote, into an `IllegibleError`; a
    database that is lost or busy is none of it.
    """
    try:
        yield
    except Mistake:
        raise
    except _STRANGE as error:
        cause = _cause(error)
        if isinstance(cause, exc.OperationalError) and _away(cause):
            raise
        said = str(getattr(cause, "orig", None) or cause).split("\n")[0][:200]
        reason = said if type(cause) is ValueError else f"{type(cause).__name__}: {said}"
        whole = f"the study {study!r}" if study is not None else "its studies"
        names = f"`kdsearch doctor {study.split('/')[0]}` names all that is; " if study is not None else ""
        raise IllegibleError(
            f"the database has {f'{part} of ' if part else ''}{whole} in a form that was never written by kdsearch "
            f"({reason}): it is damaged or altered; {names}take a copy from before that",
            reason,
        ) from None


def _cause(error: Exception) -> Exception:
    """What Optuna makes a fault of its own, as SQLAlchemy raised it."""
    return error.__cause__ if isinstance(error.__cause__, exc.SQLAlchemyError) else error


def _away(error: exc.OperationalError) -> bool:
    """Whether the database is lost or busy; SQLite raises the same for what it cannot read."""
    return not isinstance(error.orig, sqlite3.Error) or _AWAY.search(str(error.orig)) is not None


def check_curve(curve: Sequence[Mapping[str, Any]]) -> None:
    """Raise `ValueError` where a line, as JSON gives it, lacks what every reader counts on."""
    try:
        stages, *figures = zip(*map(_OF_A_LINE, curve), strict=True) if curve else [()]
    except KeyError:
        raise ValueError(_LACKING) from None
    if not {str}.issuperset(map(type, stages)) or not {int, float}.issuperset(map(type, chain(*figures))):
        raise ValueError(_LACKING)


def check_text(content: Any) -> None:
    """Raise `ValueError` where JSON-able values hold half a character, which no file or table can."""
    json.dumps(content, ensure_ascii=False).encode()
