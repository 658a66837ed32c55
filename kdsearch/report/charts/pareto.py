"""Accuracy against size: the front, what it dominates, what was stopped or lost, the teacher, and fresh seeds."""

import html
import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from kdsearch.report.axes import Axis, Switch, log_axis
from kdsearch.report.chart import Chart
from kdsearch.report.charts.pareto_numbers import LOST, SIZES, TESTED, ParetoNumbers, pareto_numbers
from kdsearch.report.ink import GREY, VERMILLION, accuracy_axis, height, layout, legend_name, marks, rounded
from kdsearch.report.material import Material

Floats = NDArray[np.float64]

_TESTED = {"test_accuracy": ("distilled, test", VERMILLION), "alone_test_accuracy": ("alone, test", GREY)}
_MARKS = {"failed": ("x-thin", VERMILLION), "screened": ("line-ns", GREY), "running": ("triangle-right-open", GREY)}
_GUIDE = {"color": GREY, "width": 1, "dash": "dot"}
_ASIDE = 0.97
_MANY = 1_000
"""Marks above which they are drawn smaller and let others shine through."""
_SMALL_SHARE = 0.08
_NOTE = (
    "Filled marks are the study's front, open ones the other complete trials; colour and shape say the start, the star "
    "is the teacher. Marks and dotted lines are of the validation split. Both scales are logarithmic, accuracy by its "
    "errors: halving them is the same step everywhere. The line joins the best at each size of the axis that is shown."
)
_CONFIRMED_NOTE = (
    " Bars are means on the test split over fresh seeds with their 95 % intervals: distilled to the left, the same "
    "student alone to the right; compare them with the open star, the teacher on test."
)


def chart(material: Material) -> Chart:
    """Missing where no trial is complete."""
    numbers = pareto_numbers(material)
    note = _NOTE
    if len(numbers.stopped):
        note += " Grey dotted circles are trials that were stopped early or still wait, with what they last showed."
    if len(numbers.lost):
        note += " Marks at the bottom never showed an accuracy."
    return Chart(
        name="pareto",
        title="Accuracy against size",
        label="Validation accuracy against size of every trial, beside the teacher",
        note=note + (_CONFIRMED_NOTE if len(numbers.confirmed) else ""),
        figure=None if numbers.points.empty else pareto_figure(numbers),
        missing="No trial is complete yet: the chart needs one." if numbers.points.empty else "",
        tall=True,
    )


def pareto_figure(numbers: ParetoNumbers) -> go.Figure:
    """Accuracy, on a log scale of the errors, against a size on a log scale; the axis switches between sizes."""
    figure = go.Figure(layout=layout("parameters", "accuracy"))
    switch = Switch(figure, _axes(numbers))
    _add_lines(switch, numbers)
    _add_lost(switch, numbers)
    starts = marks(sorted(numbers.points["start"].unique()))
    for on_front in (False, True):  # the front is drawn over the others
        for start, (colour, symbol) in starts.items():
            _add_start(switch, numbers, start, colour, symbol, on_front)
    for mean, (name, colour) in _TESTED.items():
        if mean in numbers.confirmed:
            _add_tested(switch, numbers, (mean, *TESTED[mean]), name, colour)
    _add_teacher(switch, figure, numbers)
    switch.finish()
    rows = {state: place for place, state in enumerate(_rows(numbers))}
    axis = accuracy_axis(_accuracies(numbers), numbers.validation)
    bottom, step = axis["range"][0], _step(axis["range"])
    figure.update_yaxes(
        tickvals=[*axis["tickvals"], *(bottom - step * (place + 0.5) for place in rows.values())],
        ticktext=[*axis["ticktext"], *rows],
        range=[bottom - step * len(rows), axis["range"][1]],
    )
    return figure


def _rows(numbers: ParetoNumbers) -> list[str]:
    """The states that have marks in the strip below the accuracies, from the top."""
    return [state for state in LOST if (numbers.lost["state"] == state).any()]


def _step(ends: list[float]) -> float:
    return 0.07 * (ends[1] - ends[0])


def _accuracies(numbers: ParetoNumbers) -> list[float]:
    teacher = [numbers.teacher_accuracy, *([numbers.teacher_test] if numbers.teacher_test is not None else [])]
    tested = numbers.confirmed.to_numpy().ravel().tolist()
    return [*numbers.points["accuracy"], *numbers.stopped["accuracy"], *teacher, *tested]


def _axes(numbers: ParetoNumbers) -> list[Axis]:
    found = []
    for name in numbers.fronts:
        sizes = pd.concat([frame[name] for frame in (numbers.points, numbers.stopped, numbers.lost)]).dropna()
        ends = [float(sizes.min()), float(sizes.max())]
        if name == "parameters":
            ends[1] = max(ends[1], numbers.teacher_parameters)
        found.append(log_axis(name, SIZES[name], *ends))
    return found


def _add_lines(switch: Switch, numbers: ParetoNumbers) -> None:
    """The front of each size, and a step to where students have 92 % fewer parameters than the teacher."""
    for name, front in numbers.fronts.items():
        switch.add(
            {name: front["size"]},
            height(front["accuracy"], numbers.validation),
            mode="lines",
            line={"shape": "hv", "color": GREY, "width": 1.5},
            name="best at its size",
            legendgroup="best",
            showlegend=name == "parameters",
            hoverinfo="skip",
        )
    small = _SMALL_SHARE * numbers.teacher_parameters
    if small > numbers.points["parameters"].min():
        axis = accuracy_axis(_accuracies(numbers), numbers.validation)
        switch.add(
            {"parameters": [small, small]},
            axis["range"],
            mode="lines+text",
            name="92 % fewer parameters",
            line=_GUIDE,
            text=["92 % fewer<br>parameters ", ""],
            textposition="top left",
            textfont={"size": 11, "color": GREY},
            showlegend=False,
            hoverinfo="skip",
        )


def _add_lost(switch: Switch, numbers: ParetoNumbers) -> None:
    """Trials without their start's colour: what was stopped, at what it showed; what was lost, in the strip below."""
    if len(numbers.stopped):
        heights = height(numbers.stopped["accuracy"], numbers.validation)
        marker = {"symbol": "circle-open-dot", "color": GREY, "size": 7, "opacity": 0.8}
        _add_marks(switch, numbers.stopped, heights, marker, name="stopped or waiting")
    ends = accuracy_axis(_accuracies(numbers), numbers.validation)["range"]
    for place, state in enumerate(_rows(numbers)):
        lost = numbers.lost[numbers.lost["state"] == state]
        symbol, colour = _MARKS[state]
        marker = {"symbol": symbol, "size": 7, "color": colour, "opacity": 0.7}
        marker["line"] = {"width": 1.5, "color": colour}
        heights = np.full(len(lost), ends[0] - _step(ends) * (place + 0.5))
        _add_marks(switch, lost, heights, marker, name=state, showlegend=False)


def _add_start(switch: Switch, numbers: ParetoNumbers, start: str, colour: str, symbol: str, on_front: bool) -> None:
    """The trials of one start: dominated ones small and open, the front's large and filled."""
    mine = numbers.points[numbers.points["start"] == start]
    points = mine[mine["on_front"] == on_front]
    if points.empty:
        return
    many = len(numbers.points) > _MANY
    dominated = {"symbol": f"{symbol}-open", "size": 5 if many else 7, "opacity": 0.5 if many else 1}
    marker = {"symbol": symbol, "size": 12} if on_front else dominated
    _add_marks(
        switch,
        points,
        height(points["accuracy"], numbers.validation),
        {"color": colour, **marker},
        name=legend_name(f"start: {start}"),
        legendgroup=html.escape(start),
        showlegend=bool(on_front or not mine["on_front"].any()),
    )


def _add_marks(switch: Switch, points: pd.DataFrame, heights: Floats, marker: dict[str, Any], **trace: Any) -> None:
    switch.add(
        {name: points[name] for name in SIZES if name in points},
        heights,
        mode="markers",
        marker=marker,
        customdata=points.index.tolist(),
        hoverinfo="none",
        **trace,
    )


def _add_tested(switch: Switch, numbers: ParetoNumbers, columns: tuple[str, str, str], name: str, colour: str) -> None:
    """Means over fresh seeds with their 95 % intervals, on the test split."""
    mean, low, high = columns
    rows = numbers.confirmed.dropna(subset=[mean])
    # side by side: the student and itself alone have one size
    aside = _ASIDE if mean == "test_accuracy" else 1 / _ASIDE
    middle, bottom, top = (height(rows[column], numbers.validation) for column in columns)
    switch.add(
        {name: numbers.points.loc[rows.index, name] * aside for name in numbers.fronts},
        middle,
        mode="markers",
        marker={"symbol": "line-ew", "size": 9, "color": colour, "line": {"width": 2, "color": colour}},
        error_y={
            "type": "data",
            "array": rounded(top - middle),
            "arrayminus": rounded(middle - bottom),
            "color": colour,
            "thickness": 1.5,
            "width": 0,
        },
        name=name,
        hoverinfo="text",
        hovertext=[
            f"<b>trial {trial}</b>, {name}, fresh seeds<br>{100 * row[mean]:.2f} % "
            f"({100 * row[low]:.2f} to {100 * row[high]:.2f})"
            for trial, row in rows.iterrows()
        ],
    )


def _add_teacher(switch: Switch, figure: go.Figure, numbers: ParetoNumbers) -> None:
    """Its star, on test an open one, and what students are measured by: its accuracy and one point below."""
    for accuracy, split, symbol in (
        (numbers.teacher_accuracy, "validation", "star"),
        (numbers.teacher_test, "test", "star-open"),
    ):
        if accuracy is None or math.isnan(accuracy):
            continue
        switch.add(
            {"parameters": [numbers.teacher_parameters]},
            height([accuracy], numbers.validation),
            mode="markers",
            marker={"symbol": symbol, "size": 15, "color": VERMILLION},
            name=f"teacher, {split}",
            hoverinfo="text",
            hovertext=[
                f"<b>teacher</b><br>{numbers.teacher_parameters:,} parameters<br>"
                f"{100 * accuracy:.2f} % {split} accuracy"
            ],
        )
    if math.isnan(numbers.teacher_accuracy):
        return
    heights = [float(height(max(0.0, numbers.teacher_accuracy - drop), numbers.validation)) for drop in (0.0, 0.01)]
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "line": _GUIDE, "layer": "below"}
    place = {"xref": "paper", "x": 1, "y": heights[1], "xanchor": "right", "yanchor": "top", "showarrow": False}
    figure.update_layout(
        shapes=[line | {"y0": y, "y1": y} for y in heights],
        annotations=[place | {"text": "1 point below, validation", "font": {"size": 11, "color": GREY}}],
    )
