"""Depth against width, coloured by accuracy, with lines of equal size."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from kdsearch.report.chart import Chart
from kdsearch.report.complete import complete_trials, left_out, numbers_in, thinned, too_few
from kdsearch.report.ink import GREY, RING, SCALE, accuracy_axis, bar, height, layout, rounded, short, size_ticks
from kdsearch.report.material import Material

Floats = NDArray[np.float64]

_MOST = 2_000
_FEWEST_SHAPES = 8
_TOLERANCE = 0.05
"""Of log10 parameters, root mean square: with a worse fit lines of equal size would mislead."""
_PITCH = 0.12


@dataclass(frozen=True, kw_only=True)
class ShapeNumbers:
    """`points`: complete trials of the most frequent `family` with a width and a depth: these, `accuracy`, `on_front`,
    and `place`, the depth moved a little so that trials of one shape stand above one another, the best on top.
    `levels`: lines of equal size, by number of parameters, as `width` and `depth`; none where fewer than eight shapes
    are known or width and depth do not say the size. `among` trials, of `families`. `validation` examples.
    """

    points: pd.DataFrame
    levels: dict[float, pd.DataFrame]
    family: str
    families: int
    among: int
    validation: int


def chart(material: Material) -> Chart:
    """Missing below ten trials of one family with width and depth, and where all have one width or one depth."""
    numbers = shape_numbers(material)
    missing = _missing(numbers)
    lines = "Lines join shapes of equal size, from the sizes of the study's own trials (a smooth fit)."
    if not numbers.levels:
        lines = "No lines of equal size: fewer than eight shapes are known, or more than width and depth decide it."
    only = f" Only {numbers.family}, the most frequent of {numbers.families} families." if numbers.families > 1 else ""
    return Chart(
        name="shape",
        title="Depth and width",
        label="Depth and width of every trial, coloured by accuracy, with lines of equal size",
        note=(
            "Colour is validation accuracy; rings are the front. Trials of one shape stand above one another, the most "
            f"accurate on top. {lines}{only}{left_out(len(numbers.points), numbers.among)}"
        ),
        figure=None if missing else shape_figure(numbers),
        missing=missing,
        tall=True,
    )


def shape_numbers(material: Material) -> ShapeNumbers:
    table = material.table
    points = complete_trials(table)
    for column in ("width", "depth"):
        points[column] = numbers_in(material, points, column)
    points = points[(points["width"] > 0) & (points["depth"] > 0)]
    names = (
        table["family"].reindex(points.index).astype(str) if "family" in table else pd.Series("", index=points.index)
    )
    family = str(names.value_counts().index[0]) if len(names) else ""
    known = points[names == family]
    drawn = thinned(known, _MOST)
    return ShapeNumbers(
        points=drawn.assign(place=_places(drawn))[["width", "depth", "place", "accuracy", "on_front"]],
        levels=_levels(known),
        family=family,
        families=names.nunique(),
        among=len(known),
        validation=int(material.facts.data["validation"]),
    )


def shape_figure(numbers: ShapeNumbers) -> go.Figure:
    """Width on a log scale across, depth up, the front ringed; lines of equal size below the marks."""
    figure = go.Figure(layout=layout("width", "depth"))
    for parameters, line in numbers.levels.items():
        figure.add_scatter(
            x=rounded(line["width"]),
            y=rounded(line["depth"]),
            mode="lines+text",
            line={"color": GREY, "width": 1, "dash": "dot"},
            text=[*[""] * (len(line) - 1), short(parameters)],
            textposition="top center",
            textfont={"size": 11, "color": GREY},
            hoverinfo="skip",
        )
    for on_front in (False, True):
        points = numbers.points[numbers.points["on_front"] == on_front]
        figure.add_scatter(
            x=rounded(points["width"]),
            y=rounded(points["place"]),
            mode="markers",
            marker={
                "color": rounded(height(points["accuracy"], numbers.validation)),
                "coloraxis": "coloraxis",
                "size": 13 if on_front else 9,
                "line": RING if on_front else {"color": GREY, "width": 0.5},
            },
            customdata=points.index.tolist(),
            hoverinfo="none",
        )
    widths = sorted(numbers.points["width"].unique())
    values, texts = size_ticks(widths[0], widths[-1])
    if len(widths) <= 8:
        values, texts = [float(width) for width in widths], [short(width) for width in widths]
    ends = np.log10([widths[0], widths[-1]])
    margin = 0.06 * (ends[1] - ends[0])
    figure.update_xaxes(type="log", tickvals=values, ticktext=texts, range=[ends[0] - margin, ends[1] + margin])
    low, high = _ends(numbers.points["depth"])
    figure.update_yaxes(
        range=[low - 0.4, high + 0.4], tick0=0, dtick=max(1, round(np.ptp(numbers.points["depth"]) / 8))
    )
    axis = accuracy_axis(numbers.points["accuracy"], numbers.validation)
    ticks = {"tickvals": axis["tickvals"][::2], "ticktext": axis["ticktext"][::2]}
    figure.update_layout(
        coloraxis={"colorscale": SCALE, "colorbar": bar("validation accuracy") | ticks}, showlegend=False
    )
    return figure


def _places(points: pd.DataFrame) -> "pd.Series[float]":
    """Depths, apart where several trials have one shape, by rising accuracy."""
    shapes = points.groupby(["width", "depth"])["accuracy"]
    rank, count = shapes.rank(method="first") - 1, shapes.transform("size")
    pitch = np.minimum(_PITCH, 0.7 / np.maximum(count - 1, 1))
    return pd.Series(points["depth"] + (rank - (count - 1) / 2) * pitch, dtype=float)


def _levels(points: pd.DataFrame) -> dict[float, pd.DataFrame]:
    """Lines of equal size: a parabola of log10 parameters over the logs of width and depth, solved for the width."""
    shapes = points.groupby(["width", "depth"])["parameters"].median().reset_index()
    if len(shapes) < _FEWEST_SHAPES or shapes["width"].nunique() < 3 or shapes["depth"].nunique() < 2:
        return {}
    wide, deep = np.log(shapes["width"].to_numpy()), np.log(shapes["depth"].to_numpy())
    sizes = np.log10(shapes["parameters"].to_numpy())
    fit, *_ = np.linalg.lstsq(_terms(wide, deep), sizes, rcond=None)
    if np.sqrt(np.mean((_terms(wide, deep) @ fit - sizes) ** 2)) > _TOLERANCE:
        return {}
    widths, depths = np.linspace(wide.min(), wide.max(), 80), np.log(np.linspace(*_ends(shapes["depth"]), 20))
    grid = np.array([_terms(widths, np.full(80, depth)) @ fit for depth in depths])
    found = {}
    for level in size_ticks(10 ** sizes.min(), 10 ** sizes.max())[0]:
        wanted = np.log10(level)
        line = [
            (np.exp(np.interp(wanted, row, widths)), np.exp(depth))
            for row, depth in zip(grid, depths, strict=True)
            if row[0] < wanted < row[-1] and (np.diff(row) > 0).all()
        ]
        if len(line) > 2:
            found[level] = pd.DataFrame(line, columns=["width", "depth"])
    return found


def _ends(depths: "pd.Series[float]") -> tuple[float, float]:
    """A little more than the depths there are: lines end, and bear their names, beyond the marks."""
    return float(depths.min()) * 0.9, float(depths.max()) + 0.5


def _terms(wide: Floats, deep: Floats) -> Floats:
    return np.column_stack([np.ones_like(wide), wide, deep, wide**2, wide * deep, deep**2])


def _missing(numbers: ShapeNumbers) -> str:
    if few := too_few(numbers.among, " of one family with a width and a depth"):
        return few
    for column in ("width", "depth"):
        if numbers.points[column].nunique() == 1:
            return f"Every student has the {column} {numbers.points[column].iloc[0]:g}: there is nothing to compare."
    return ""
