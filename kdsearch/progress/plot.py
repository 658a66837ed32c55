"""The front drawn with characters: accuracy (log scale of the errors, as in the report) against log parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

Point = tuple[float, float]
"""Parameters and accuracy."""

FRONT, DOMINATED, TEACHER = "●", "·", "★"
_STYLES = {FRONT: "bold green", DOMINATED: "bright_black", TEACHER: "bold yellow", "─": "dim"}
_BARS = "▁▂▃▄▅▆▇█"
_LABEL = 7


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps `low` to `high` onto the cells 0 to `cells` - 1."""

    low: float
    high: float
    cells: int

    @classmethod
    def over(cls, values: Sequence[float], cells: int) -> "Scale":
        low, high = min(values), max(values)
        margin = 0.0 if high > low else 0.5
        return cls(low=low - margin, high=high + margin, cells=cells)

    def cell(self, value: float) -> int:
        return round((value - self.low) / (self.high - self.low) * (self.cells - 1))

    def value(self, cell: int) -> float:
        return self.low + (self.high - self.low) * cell / (self.cells - 1)


def plot(
    points: Sequence[Point],
    front: Sequence[Point],
    teacher: Point,
    *,
    validation: int,
    width: int,
    height: int,
) -> list[Text]:
    """`height` lines of at most `width` cells, axes included; `height` of at least 4, `width` of at least 20.

    `points` are all complete trials, not empty; the teacher is left out where its accuracy is NaN. Where marks fall on
    one cell the teacher's covers the front's, and the front's the dominated's. Of `validation` examples half a one
    stands for no error at all.
    """
    layers = [(DOMINATED, points), (FRONT, front), (TEACHER, [] if math.isnan(teacher[1]) else [teacher])]
    shown = [point for _, layer in layers for point in layer]
    across = Scale.over([math.log10(max(1, size)) for size, _ in shown], width - _LABEL - 1)
    up = Scale.over([_height(accuracy, validation) for _, accuracy in shown], height - 2)
    grid = [[" "] * across.cells for _ in range(up.cells)]
    for mark, layer in layers:
        for size, accuracy in layer:
            grid[up.cell(_height(accuracy, validation))][across.cell(math.log10(max(1, size)))] = mark
    labelled = {0, up.cells // 2, up.cells - 1}
    lines = []
    for row in reversed(range(up.cells)):
        accuracy = 1 - 10 ** -up.value(row) + 0.5 / validation
        label = f"{min(1.0, max(0.0, accuracy)):.1%}" if row in labelled else ""
        lines.append(_styled(f"{label:>{_LABEL - 1}} │", grid[row]))
    lines.append(_styled(f"{'':{_LABEL - 1}} └", ["─"] * across.cells))
    lines.append(Text(" " * (_LABEL + 1) + _ticks(across), style="dim"))
    return lines


def sparkline(values: Sequence[float], width: int) -> str:
    """`values` as at most `width` bars from the least to the greatest; of more values those that are evenly apart, the
    last among them.
    """
    last = len(values) - 1
    count = min(width, len(values))
    chosen = [values[last - round(index * last / max(1, count - 1))] for index in reversed(range(count))]
    if not chosen:
        return ""
    low, span = min(chosen), max(chosen) - min(chosen)
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1)) if span > 0 else 0] for value in chosen)


def short(number: float) -> str:
    """A count in at most four characters or so: 812, 5.8k, 230k, 1.2M."""
    if number < 999.5:
        return f"{number:.0f}"
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
        if number < 999.5 * size or unit == "G":
            return f"{number / size:.1f}{unit}" if number < 9.95 * size else f"{number / size:.0f}{unit}"
    raise AssertionError


def _height(accuracy: float, validation: int) -> float:
    return -math.log10(1 - accuracy + 0.5 / validation)


def _styled(label: str, cells: Sequence[str]) -> Text:
    text = Text.assemble((label, "dim"))
    for cell in cells:
        text.append(cell, style=_STYLES.get(cell, ""))
    return text


def _ticks(across: Scale) -> str:
    """Parameters below the axis: at its ends, and in the middle where there is room."""
    left, right = short(10**across.low), short(10**across.high)
    middle = short(10 ** across.value(across.cells // 2))
    line = left.ljust(across.cells - len(right)) + right
    begin = across.cells // 2 - len(middle) // 2
    if line[begin - 1 : begin + len(middle) + 1].strip():
        return line
    return line[:begin] + middle + line[begin + len(middle) :]
