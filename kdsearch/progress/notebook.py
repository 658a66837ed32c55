"""A search's progress in a notebook: one display that is replaced, rather than an output for every event."""

import html
import io
import threading
import time
from collections import deque
from typing import Any

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from kdsearch.events import AnewEpoch, Happening, TeacherEpoch
from kdsearch.markup import printable
from kdsearch.progress.draw import draw
from kdsearch.progress.lines import line, on_the_way, went_wrong
from kdsearch.progress.tally import Picture

_WIDTH, _HEIGHT = 100, 40
_SECONDS = 0.5
_LINES = 4
_PRE = '<pre style="line-height: 1.2; font-family: monospace; white-space: pre; overflow-x: auto">{code}</pre>'
# middle tones, which can be read on white as on black; rich mixes "dim" with the background, so that is grey as well
_GREY = (128, 128, 128)
_THEME = TerminalTheme(
    (176, 176, 176),
    (96, 96, 96),
    [_GREY, (200, 60, 60), (46, 139, 87), (184, 134, 11), (65, 105, 225), (160, 80, 160), (32, 140, 150), _GREY],
)


def in_notebook() -> bool:
    """Whether what is displayed here is shown by Jupyter or its like."""
    return Console(file=io.StringIO()).is_jupyter


class Notebook:
    """A listener that keeps one display up to date, at most twice a second. Warnings and failures stay below it, the
    last few of them; the lines of other events are not shown.
    """

    def __init__(self) -> None:
        self._picture = Picture()
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._handle: Any = None
        self._shown = 0.0
        self._lock = threading.RLock()  # complaints come from other threads

    def __enter__(self) -> "Notebook":
        from IPython.display import HTML, display

        self._handle = display(HTML(self._html()), display_id=True)  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *_: object) -> None:
        self._show()

    def say(self, text: str) -> None:
        with self._lock:
            self._lines.append(printable(text))
            self._show()

    def __call__(self, happening: Happening) -> None:
        with self._lock:
            self._picture.hear(happening)
            if went_wrong(happening) and (told := line(happening, self._picture)) is not None:
                self._lines.append(printable(told))
            epoch = isinstance(happening, TeacherEpoch | AnewEpoch)
            last = epoch and not on_the_way(happening, self._picture)
            if last or time.monotonic() - self._shown > _SECONDS:
                self._show()

    def _show(self) -> None:
        from IPython.display import HTML

        self._handle.update(HTML(self._html()))  # type: ignore[no-untyped-call]
        self._shown = time.monotonic()

    def _html(self) -> str:
        console = Console(
            file=io.StringIO(),
            record=True,
            width=_WIDTH,
            force_terminal=True,
            force_jupyter=False,
            legacy_windows=False,
        )
        console.print(draw(self._picture, _WIDTH, _HEIGHT))
        drawn = console.export_html(theme=_THEME, code_format=_PRE, inline_styles=True)
        return drawn + "".join(f"<div>{html.escape(text)}</div>" for text in self._lines)
