"""The live panel of a terminal: plain lines above, what happens right now below them."""

import threading

from rich.console import Console, RenderableType
from rich.live import Live

from kdsearch.events import Happening, TrialWaits
from kdsearch.progress.draw import draw
from kdsearch.progress.lines import line, on_the_way, say
from kdsearch.progress.tally import Picture

_REFRESHES = 4


class LivePanel:
    """A listener that keeps a panel below the lines; leaving the context takes it away and leaves the lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._picture = Picture()
        # the panel is drawn by a thread of rich's; nothing is printed while this is held, as printing waits for that
        self._lock = threading.Lock()
        self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=_REFRESHES, transient=True)

    def __enter__(self) -> "LivePanel":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        say(self._console, text)

    def __call__(self, happening: Happening) -> None:
        with self._lock:
            self._picture.hear(happening)
            told = line(happening, self._picture) if _is_kept(happening, self._picture) else None
        if told is not None:
            self.say(told)

    def _draw(self) -> RenderableType:
        with self._lock:
            size = self._console.size
            return draw(self._picture, size.width, size.height)


def _is_kept(happening: Happening, picture: Picture) -> bool:
    """Whether its line stays above the panel: what the panel shows anyway and soon is history does not."""
    return not on_the_way(happening, picture) and not isinstance(happening, TrialWaits)
