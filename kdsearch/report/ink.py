"""Colours, axes and ticks that all charts share.

Colours are Okabe and Ito's, told apart by colour-blind readers too; shape says the same as colour. Paper and plot are
transparent and neutrals mid-grey, so that a page can be light or dark.
"""

import math

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#808080"
_STARTS = {"none": (BLUE, "circle"), "hints": (ORANGE, "diamond"), "pretrain": (GREEN, "square")}
_OTHER_MARKS = ((PURPLE, "triangle-up"), (SKY, "cross"), (VERMILLION, "x"))


def layout(x_title: str, y_title: str) -> dict[str, object]:
    axis = {"gridcolor": "rgba(128,128,128,0.2)", "zeroline": False, "automargin": True, "title": {"standoff": 12}}
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": GREY, "family": "system-ui, sans-serif", "size": 13},
        "margin": {"l": 10, "r": 10, "t": 36, "b": 10},
        "xaxis": {**axis, "title": {"text": x_title, "standoff": 12}},
        "yaxis": {**axis, "title": {"text": y_title, "standoff": 12}},
        "legend": {"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top"},
        "hoverlabel": {"align": "left"},
        "hovermode": "closest",
    }


def marks(starts: list[str]) -> dict[str, tuple[str, str]]:
    """Colour and symbol by start; starts of other names get the remaining ones in turn."""
    others = [start for start in starts if start not in _STARTS]
    given = {start: _OTHER_MARKS[turn % len(_OTHER_MARKS)] for turn, start in enumerate(others)}
    return {start: {**_STARTS, **given}[start] for start in starts}


def size_ticks(smallest: int, largest: int) -> tuple[list[int], list[str]]:
    """Readable ticks for parameters: whole decades, with 2 and 5 between them where there are few."""
    low, high = math.floor(math.log10(max(1, smallest))), math.ceil(math.log10(max(1, largest)))
    steps = (1, 2, 5) if high - low <= 2 else (1,)
    values = [step * 10**power for power in range(low, high + 1) for step in steps]
    return values, [_short(value) for value in values]


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


def _short(count: int) -> str:
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:g}{letter}"
    return str(count)
