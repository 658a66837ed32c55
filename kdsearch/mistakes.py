"""What the user can mend: errors that are one clear message (the rule, the value, the way out) and no traceback."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Mistake(ValueError):
    """A wrong input. The command line prints its message alone and exits with status 2."""


class DiskError(Mistake):
    """The disk is full, read-only or failing: no trial's fault, so a search ends rather than failing its trials."""


class UserCodeError(Mistake):
    """Code in a study file raised. `trace` is its full traceback, which the command line writes to a log file."""

    def __init__(self, message: str, trace: str) -> None:
        super().__init__(message)
        self.trace = trace

    def __reduce__(self) -> tuple[type["UserCodeError"], tuple[str, str]]:
        return UserCodeError, (str(self), self.trace)


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Run code that belongs to the user; anything it raises becomes a `UserCodeError` that says where.

    A `Mistake` that our own constructors raise inside the user's code is already clear and passes through.
    """
    try:
        yield
    except Mistake:
        raise
    except (Exception, SystemExit) as error:
        raise UserCodeError(f"{what} raised {type(error).__name__}: {error}{place_of(error)}", _trace(error)) from error


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def place_of(error: BaseException) -> str:
    """Name the innermost line that is neither ours nor an installed package's."""
    if isinstance(error, SyntaxError):
        return ""  # its own message says where
    ours = str(Path(__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((ours, "<")) and "site-packages" not in frame.filename
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name})" if frames else ""
