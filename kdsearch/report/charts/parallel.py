"""Parallel coordinates: every choice of a trial on an axis of its own, coloured by accuracy.

Polylines in a plain scatter: Plotly's own parallel coordinates need WebGL, which the page's policy does not allow.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from kdsearch.report.chart import Chart
from kdsearch.report.complete import complete_trials, left_out, thinned, too_few
from kdsearch.report.ink import GREY, SCALE, layout, lines, short
from kdsearch.report.material import Material

_MOST = 240
_AXES = 6
_CLASSES = 5
_WIDE = 8
"""A spread by more than this factor is shown on a log scale, but for fractions: what ends between 0.5 and 1."""
_ABSENT = -0.12
_LAST = 0.99
_CATEGORIES = 8


@dataclass(frozen=True, kw_only=True)
class Coordinate:
    """One axis: where its `ticks` stand from 0 to 1, with their texts; trials without it stand before it, at -0.12."""

    name: str
    ticks: list[tuple[float, str]]


@dataclass(frozen=True, kw_only=True)
class ParallelNumbers:
    """`places`: by trial, a column per axis with where it stands on it, from 0 to 1, rising accuracy from row to row;
    `axes` in the order of the columns. `classes` has each trial's accuracy class, from 0 for the lowest, `bounds` the
    accuracies between which the classes lie; `on_front` which are members. Of `among` trials, whose space
    sampled `varied` parameters of more than one value.
    """

    places: pd.DataFrame
    axes: list[Coordinate]
    classes: "pd.Series[int]"
    bounds: list[float]
    on_front: "pd.Series[bool]"
    among: int
    varied: int


def chart(material: Material) -> Chart:
    """Missing below ten complete trials, and where no sampled parameter has two values."""
    numbers = parallel_numbers(material)
    missing = too_few(numbers.among)
    if not missing and len(numbers.axes) < 3:
        missing = "No sampled parameter has two values: there is nothing to compare."
    varied = len(numbers.axes) - 2
    few = f" The {varied} most important of {numbers.varied} parameters." if varied < numbers.varied else ""
    return Chart(
        name="parallel",
        title="All choices at once",
        label="Parallel coordinates of the sampled parameters, size and accuracy",
        note=(
            "A line is a trial, thick ones the front; colour is its accuracy, in fifths. Where a line passes before an "
            "axis (–), the trial has no such parameter. Axes are logarithmic where values spread by more than a factor "
            f"of {_WIDE}, accuracy by its errors." + few + left_out(len(numbers.places), numbers.among)
        ),
        figure=None if missing else parallel_figure(numbers),
        missing=missing,
        tall=True,
    )


def parallel_numbers(material: Material) -> ParallelNumbers:
    points = complete_trials(material.table)
    drawn = thinned(points, _MOST).sort_values("accuracy", kind="stable")
    params = {record.number: record.params for record in material.records}
    values = pd.DataFrame([params.get(number, {}) for number in drawn.index], index=drawn.index, dtype=object)
    important = {one.parameter: place for place, one in enumerate(material.importances)}
    varied = [name for name in values if values[name].dropna().astype(str).nunique() > 1]
    kept = sorted(varied, key=lambda name: important.get(str(name), len(important)))[:_AXES]
    columns = {name: values[name] for name in varied if name in kept}
    columns |= {"parameters": drawn["parameters"].astype(float), "accuracy": drawn["accuracy"]}
    scaled = [_scaled(str(name), column, 0.5 / material.facts.data["validation"]) for name, column in columns.items()]
    edges = np.unique(np.quantile(points["accuracy"], np.linspace(0, 1, _CLASSES + 1))) if len(points) else np.zeros(2)
    inner = edges[1:-1]
    return ParallelNumbers(
        places=pd.DataFrame({axis.name: places for axis, places in scaled}, index=drawn.index),
        axes=[axis for axis, _ in scaled],
        classes=pd.Series(np.searchsorted(inner, drawn["accuracy"], side="right"), index=drawn.index, dtype=int),
        bounds=[float(edge) for edge in (edges if len(edges) > 1 else [edges[0], edges[0]])],
        on_front=drawn["on_front"],
        among=len(points),
        varied=len(varied),
    )


def parallel_figure(numbers: ParallelNumbers) -> go.Figure:
    """Axes lie above one another, which leaves room for their names on a phone too; thin lines by rising accuracy, then
    the front's over them.
    """
    figure = go.Figure(layout=layout("", ""))
    count = len(numbers.bounds) - 1
    colours = sample_colorscale(SCALE, [0.5] if count == 1 else np.linspace(0.2, 0.95, count).tolist())
    rows = list(range(len(numbers.axes)))
    for on_front in (False, True):
        for rank in range(count):
            mine = numbers.places[(numbers.on_front == on_front) & (numbers.classes == rank)]
            if mine.empty and on_front:
                continue
            figure.add_scatter(
                **lines(np.repeat(mine.index, len(rows)), mine.to_numpy().ravel(), np.tile(rows, len(mine))),
                mode="lines",
                line={"color": colours[rank], "width": 2.5 if on_front else 1.2},
                opacity=1.0 if on_front else 0.7,
                name=f"{100 * numbers.bounds[rank]:.3g}–{100 * numbers.bounds[rank + 1]:.3g} %",
                legendgroup=str(rank),
                showlegend=not on_front,
                hoverinfo="none",
            )
    figure.update_layout(
        shapes=[
            {"type": "line", "x0": 0, "x1": 1, "y0": row, "y1": row, "line": {"color": GREY, "width": 1}}
            for row in rows
        ],
        annotations=[
            {"x": x, "y": row, "text": html.escape(text), "showarrow": False, "font": {"size": 11}, "yanchor": "bottom"}
            | {"xanchor": "right" if x > _LAST else "center" if x > 0 else "left", "yshift": 1}
            for row, axis in zip(rows, numbers.axes, strict=True)
            for x, text in axis.ticks
        ],
    )
    names = [html.escape(axis.name if len(axis.name) <= 16 else f"{axis.name[:15]}…") for axis in numbers.axes]
    figure.update_yaxes(tickvals=rows, ticktext=names, showgrid=False, range=[rows[-1] + 0.15, -0.5])
    absent = (numbers.places < 0).to_numpy().any()
    figure.update_xaxes(showticklabels=False, showgrid=False, range=[_ABSENT - 0.04 if absent else -0.02, 1.02])
    figure.update_layout(legend={"y": -0.02})
    return figure


def _scaled(name: str, values: "pd.Series[Any]", half: float) -> tuple[Coordinate, "pd.Series[float]"]:
    """Where each value stands on its axis, and the axis."""
    known = values.dropna()
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
        places, ticks = _numbers(values.astype(float), half if name == "accuracy" else None)
    else:
        places, ticks = _choices(values.map(lambda value: value if value is None or value != value else str(value)))
    if values.isna().any():
        ticks = [*ticks, (_ABSENT, "–")]
    return Coordinate(name=name, ticks=ticks), places.fillna(_ABSENT)


def _numbers(values: "pd.Series[float]", half: float | None) -> tuple["pd.Series[float]", list[tuple[float, str]]]:
    """Linear, log where the spread is wide, by the errors (`half` an example standing for none) where that is given."""
    low, high = float(values.min()), float(values.max())
    heights = values
    if half is not None:
        heights = pd.Series(-np.log10(1 - values + half), dtype=float)
        middle = 1 + half - math.sqrt((1 - low + half) * (1 - high + half))
        texts = [f"{100 * value:.3g} %" for value in (low, middle, high)]
    elif low > 0 and high > _WIDE * low and not 0.5 <= high <= 1:
        heights = pd.Series(np.log10(values), dtype=float)
        texts = [short(value) for value in (low, math.sqrt(low * high), high)]
    else:
        texts = [short(value) for value in (low, (low + high) / 2, high)]
    span = float(heights.max() - heights.min())
    scaled = (heights - heights.min()) / span if span else heights * 0 + 0.5
    return pd.Series(scaled, dtype=float), list(zip((0.0, 0.5, 1.0), texts, strict=True)) if span else [(0.5, texts[0])]


def _choices(values: "pd.Series[Any]") -> tuple["pd.Series[float]", list[tuple[float, str]]]:
    """Evenly apart in the order of their names; of many only some are named."""
    choices = sorted(values.dropna().unique())
    places = {choice: place / max(1, len(choices) - 1) for place, choice in enumerate(choices)}
    named: Sequence[str] = choices[:: math.ceil(len(choices) / _CATEGORIES)]
    ticks = [(places[choice], choice if len(choice) <= 14 else f"{choice[:13]}…") for choice in named]
    return pd.Series(values.map(places), dtype=float), ticks
