"""Colours, axes and ticks that all charts share.

Colours are Okabe and Ito's, told apart by colour-blind readers too; shape says the same as colour. Paper and plot are
transparent and neutrals mid-grey, so that a page can be light or dark.
"""

import html
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#808080"
SCALE = "Viridis"
"""The continuous scale for accuracies."""
DIVERGING = [[0.0, VERMILLION], [0.5, "#B4B4B4"], [1.0, BLUE]]
"""From more errors than expected to fewer."""
RING = {"color": "#E69F00", "width": 2.5}
"""Around the marks of the front where colour says something else."""
_STARTS = {"none": (BLUE, "circle"), "hints": (ORANGE, "diamond"), "pretrain": (GREEN, "square")}
_OTHER_MARKS = ((PURPLE, "triangle-up"), (SKY, "cross"), (VERMILLION, "x"))


def layout(x_title: str, y_title: str) -> dict[str, object]:
    axis = {"gridcolor": "rgba(128,128,128,0.2)", "zeroline": False, "automargin": True}
    font = {"size": 13}
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": GREY, "family": "system-ui, sans-serif", "size": 13},
        "margin": {"l": 10, "r": 10, "t": 24, "b": 44},
        "xaxis": {**axis, "title": {"text": x_title, "font": font}},
        "yaxis": {**axis, "title": {"text": y_title, "font": font, "standoff": 8}},
        "legend": {"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top"},
        "hoverlabel": {"align": "left"},
        "hovermode": "closest",
    }


def marks(starts: list[str]) -> dict[str, tuple[str, str]]:
    """Colour and symbol by start; starts of other names get the remaining ones in turn."""
    others = [start for start in starts if start not in _STARTS]
    given = {start: _OTHER_MARKS[turn % len(_OTHER_MARKS)] for turn, start in enumerate(others)}
    return {start: {**_STARTS, **given}[start] for start in starts}


def legend_name(text: str) -> str:
    """What Plotly's legend may show of a text from a database: it reads some HTML."""
    return html.escape(text if len(text) <= 40 else f"{text[:39]}…")


def height(accuracies: ArrayLike, validation: int) -> NDArray[np.float64]:
    """Where accuracies stand on a log scale of the errors: minus log10 of them, half of one of the `validation`
    examples standing for none. `choice.choose` looks for the knee on the same scale.
    """
    return -np.log10(1 - np.asarray(accuracies, dtype=np.float64) + 0.5 / validation)


def accuracy_axis(accuracies: Iterable[float], validation: int) -> dict[str, Any]:
    """Ticks and range of a y axis of heights that shows all of these."""
    known = [accuracy for accuracy in accuracies if not math.isnan(accuracy)]
    low, high = min(known), max(known)
    ticks = accuracy_ticks(low, high)
    ends = height([low, high], validation)
    margin = 0.06 * float(ends[1] - ends[0]) + 0.02
    return {
        "tickvals": height(ticks, validation).round(5).tolist(),
        "ticktext": [f"{100 * tick:.6g} %" for tick in ticks],
        "range": [float(ends[0]) - margin, float(ends[1]) + margin],
    }


def rounded(values: Iterable[Any], digits: int = 5) -> list[float | None]:
    """Numbers with so many significant digits, which a screen does not show more of; None where one is unknown."""
    return [
        None if value != value or value is None else float(f"{value:.{digits}g}")
        for value in np.asarray(values, dtype=float).tolist()
    ]


def lines(trials: Iterable[Any], x: Iterable[Any], y: Iterable[Any]) -> dict[str, list[Any]]:
    """`x`, `y` and `customdata` of a trace that draws one line for each run of equal `trials`, None between them."""
    numbers, xs, ys = list(trials), rounded(x), rounded(y)
    breaks = [place for place in range(1, len(numbers)) if numbers[place] != numbers[place - 1]]
    for place in reversed(breaks):
        for values in (numbers, xs, ys):
            values.insert(place, None)
    return {"x": xs, "y": ys, "customdata": numbers}


def errors_scale(beyond: ArrayLike) -> dict[str, Any]:
    """A colour axis for what accuracy's logit is beyond the expected: blue has fewer errors, vermillion more. Its ends
    are where 95 % of the values lie.
    """
    span = max(float(np.quantile(np.abs(np.asarray(beyond, dtype=np.float64)), 0.95)), 0.1) / math.log(2)
    step = next(step for step in (4.0, 2.0, 1.0, 0.5, 0.25, 0.1) if step <= span)
    ticks = [-step, 0.0, step]
    return {
        "colorscale": DIVERGING,
        "cmin": -span * math.log(2),
        "cmax": span * math.log(2),
        "colorbar": bar("errors for its size")
        | {
            "tickvals": [tick * math.log(2) for tick in ticks],
            "ticktext": [times(tick * math.log(2)) for tick in ticks],
        },
    }


def bar(title: str) -> dict[str, Any]:
    """A colour bar that lies above the plot, where it takes no width from it."""
    return {
        "orientation": "h",
        "x": 0,
        "xanchor": "left",
        "y": 1.02,
        "yanchor": "bottom",
        "len": 0.6,
        "thickness": 10,
        "outlinewidth": 0,
        "xpad": 0,
        "ypad": 0,
        "title": {"text": title, "side": "top", "font": {"size": 12}},
        "tickfont": {"size": 11},
    }


def times(beyond: float) -> str:
    """A logit beyond the expected as what it makes of the odds of an error."""
    factor = math.exp(-beyond)
    return f"×{factor:.1f}" if factor < 9.95 else f"×{factor:.0f}"


def size_ticks(smallest: float, largest: float) -> tuple[list[float], list[str]]:
    """Readable ticks for sizes: whole decades, with 2 and 5 between them where there are few."""
    least = smallest if smallest > 0 else min(1.0, largest)
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(max(least, largest)))
    steps = (1, 2, 5) if high - low <= 3 else (1,)
    values = [step * 10**power if power >= 0 else step / 10**-power for power in range(low, high + 1) for step in steps]
    return values, [short(value) for value in values]


def accuracy_ticks(lowest: float, highest: float) -> list[float]:
    """Accuracies to label: where errors are 5, 2 and 1 of each decade, or even steps where all lie close together."""
    if 1 - lowest < 4 * max(1 - highest, 1e-4):
        span = max(highest - lowest, 1e-3)
        step = next(
            s for power in range(-5, 1) for s in (10.0**power, 2 * 10.0**power, 5 * 10.0**power) if s >= span / 6
        )
        first, last = math.floor(lowest / step), math.ceil(highest / step)
        return [tick for tick in (round(step * count, 6) for count in range(first, last + 1)) if 0 <= tick <= 1]
    errors = [0.7, 0.5, 0.3, 0.2, 0.1, *(step * 10.0**-power for power in range(2, 7) for step in (5, 2, 1))]
    labelled = [round(1 - error, 8) for error in errors if error <= 1.2 * (1 - lowest) and error >= (1 - highest) / 2]
    return [0.0, *labelled] if lowest < 0.25 else labelled


def short(count: float) -> str:
    """A number in few characters: 1,500 is 1.5k."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.3g}"
