"""What all commands share: exit statuses, the terminal, and how a command is written out for the user to paste."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def open_console() -> "Console":
    """The terminal, or what takes its place."""
    from rich.console import Console

    # a table cut to 80 columns in a log file would lose what it is for
    return Console(width=None if sys.stdout.isatty() else 140)


def where(arguments: argparse.Namespace) -> dict[str, Any]:
    """The workspace and the storage that a command is about, as arguments of a call."""
    return {"workspace": arguments.workspace, "storage": arguments.storage}


def shown(value: str) -> str:
    """A folder or a database's URL, without its password."""
    import sqlalchemy

    return sqlalchemy.make_url(value).render_as_string() if "://" in value else value


def program() -> str:
    """The command as the user typed it, so that what we print can be pasted."""
    typed = Path(sys.argv[0])
    return str(typed) if typed.name == "kdsearch" else "kdsearch"
