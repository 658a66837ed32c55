"""Progress: a live panel in a terminal, plain lines elsewhere, next to nothing, JSON, or one display in a notebook."""

from types import TracebackType
from typing import Literal, Protocol, Self

from rich.console import Console

from kdsearch.events import Happening
from kdsearch.progress.jsonlog import JsonLog, own_stdout
from kdsearch.progress.lines import Lines, Quiet, say
from kdsearch.progress.notebook import Notebook, in_notebook
from kdsearch.progress.panel import LivePanel
from kdsearch.progress.words import clock

Style = Literal["live", "plain", "quiet"]


class Screen(Protocol):
    """A listener that shows what happens. Use as a context manager, so that what is live is closed."""

    def __call__(self, happening: Happening) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def say(self, text: str) -> None:
        """Show one line as it is."""
        ...


def listener(console: Console, style: Style = "live") -> Screen:
    """What shows progress on `console`: "live" is a panel where that is a terminal that takes Unicode, one display in a
    notebook, and elsewhere one line per event, what "plain" always is. "quiet" tells of warnings and failures alone, on
    standard error.
    """
    if style == "quiet":
        return Quiet(Console(stderr=True))
    if style == "live" and in_notebook():
        return Notebook()
    live = style == "live" and console.is_terminal and console.encoding.startswith("utf")
    return LivePanel(console) if live else Lines(console)


__all__ = ["JsonLog", "Screen", "Style", "clock", "in_notebook", "listener", "own_stdout", "say"]
