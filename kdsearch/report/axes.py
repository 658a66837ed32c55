"""X axes that the page can switch between: one figure, several readings of where its marks stand."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import plotly.graph_objects as go

from kdsearch.report.ink import rounded, size_ticks


@dataclass(frozen=True, kw_only=True)
class Axis:
    """As `layout.meta["axes"]` of a figure has it; `type` is "log" or "linear", None leaves Plotly to choose ticks."""

    name: str
    title: str
    type: str = "linear"
    tickvals: Sequence[float] | None = None
    ticktext: Sequence[str] | None = None
    range: Sequence[float] | None = None


def log_axis(name: str, title: str, smallest: float, largest: float) -> Axis:
    """A log axis with readable ticks on which these two stand a little away from the ends."""
    values, texts = size_ticks(smallest, largest)
    low, high = math.log10(smallest), math.log10(largest)
    margin = 0.05 * (high - low) + 0.05
    return Axis(
        name=name, title=title, type="log", tickvals=values, ticktext=texts, range=[low - margin, high + margin]
    )


class Switch:
    """Adds traces to a figure, each with where it stands on every one of the `axes`; the first is what is shown."""

    def __init__(self, figure: go.Figure, axes: Sequence[Axis]) -> None:
        self._figure = figure
        self._axes = axes
        self._xs: dict[str, list[list[Any]]] = {axis.name: [] for axis in axes}

    def add(self, x: Mapping[str, Iterable[Any]], y: Iterable[Any], **trace: Any) -> None:
        """Add a scatter trace; on an axis that `x` does not name it has no place, and is not seen."""
        heights = rounded(y)
        for name, xs in self._xs.items():
            xs.append(rounded(x[name], 9) if name in x else [None] * len(heights))
        self._figure.add_scatter(x=self._xs[self._axes[0].name][-1], y=heights, **trace)

    def finish(self) -> None:
        """Lay out the first axis, and offer all of them where there are several."""
        first = self._axes[0]
        self._figure.update_xaxes(title_text=first.title, type=first.type, range=first.range)
        if first.tickvals is not None:
            self._figure.update_xaxes(tickvals=first.tickvals, ticktext=first.ticktext)
        if len(self._axes) > 1:
            self._figure.update_layout(
                meta={"axes": [{**asdict(axis), "x": self._xs[axis.name]} for axis in self._axes]}
            )
