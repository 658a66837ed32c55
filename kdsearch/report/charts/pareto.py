"""Accuracy against parameters: the front, what it dominates, the teacher, and what fresh seeds gave."""

import html
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from kdsearch import pareto
from kdsearch.report.chart import Chart
from kdsearch.report.columns import percent, recipe_columns, recipe_of
from kdsearch.report.ink import GREY, VERMILLION, accuracy_ticks, layout, marks, size_ticks
from kdsearch.report.material import Material
from kdsearch.store import StudyFacts

_INTERVALS = {
    "test_accuracy": ["test_accuracy", "test_low", "test_high"],
    "alone_test_accuracy": ["alone_test_accuracy", "alone_low", "alone_high"],
}
_ASIDE = 0.97


@dataclass(frozen=True, kw_only=True)
class ParetoNumbers:
    """`points`: complete trials by number, with `parameters`, `accuracy`, `on_front`, `start` and the `recipe` as a
    dictionary of shown values. `confirmed`: what fresh seeds gave on the test split, by trial: `test_accuracy` with
    `test_low` and `test_high`, `alone_test_accuracy` with `alone_low` and `alone_high`. `front`: `parameters` and
    `accuracy` of those non-dominated in these two, by rising parameters, equal ones once. Accuracies are fractions, of
    the validation split where nothing else is said, which has `validation` examples.
    """

    points: pd.DataFrame
    confirmed: pd.DataFrame
    front: pd.DataFrame
    teacher_parameters: int
    teacher_accuracy: float
    validation: int

    def height(self, accuracy: float) -> float:
        """Where an accuracy stands on the chart: minus log10 of the errors, half an example standing for none.

        `frame.pick` looks for the knee on the same scale.
        """
        return -math.log10(1 - accuracy + 0.5 / self.validation)


def chart(material: Material) -> Chart:
    """Missing where no trial is complete."""
    numbers = pareto_numbers(material.table, material.facts)
    return Chart(
        name="pareto",
        title="Accuracy against parameters",
        label="Validation accuracy against parameters of every complete trial",
        note="",
        figure=None if numbers.points.empty else pareto_figure(numbers),
        missing="No trial is complete." if numbers.points.empty else "",
        tall=True,
    )


def pareto_numbers(table: pd.DataFrame, facts: StudyFacts) -> ParetoNumbers:
    complete = table[table["state"] == "complete"].dropna(subset=["accuracy", "parameters"])
    recipes = recipe_columns(table)
    points = pd.DataFrame(
        {
            "parameters": complete["parameters"].astype(int),
            "accuracy": complete["accuracy"].astype(float),
            "on_front": complete["on_front"].astype(bool),
            "start": complete["start"].fillna("unknown").astype(str) if "start" in complete else "unknown",
            "recipe": pd.Series({trial: recipe_of(row, recipes) for trial, row in complete.iterrows()}, dtype=object),
        },
        index=complete.index,
    )
    members = pareto.front(np.column_stack([-points["accuracy"], points["parameters"].astype(float)]))
    return ParetoNumbers(
        points=points,
        confirmed=_confirmed(complete),
        front=points.iloc[members][["parameters", "accuracy"]].drop_duplicates().reset_index(drop=True),
        teacher_parameters=int(facts.teacher["parameters"]),
        teacher_accuracy=float(facts.teacher["accuracy"]),
        validation=int(facts.data["validation"]),
    )


def pareto_figure(numbers: ParetoNumbers) -> go.Figure:
    """Accuracy, on a log scale of the errors, against parameters on a log scale."""
    figure = go.Figure(layout=layout("parameters (log scale)", "accuracy (log scale of errors)"))
    front = numbers.front
    figure.add_scatter(
        x=front["parameters"].tolist(),
        y=[numbers.height(accuracy) for accuracy in front["accuracy"]],
        mode="lines",
        line={"shape": "hv", "color": GREY, "width": 1.5},
        name="front",
        hoverinfo="skip",
    )
    starts = marks(sorted(numbers.points["start"].unique()))
    for start, (colour, symbol) in starts.items():
        _add_start(figure, numbers, start, colour, symbol)
    for name, colour, symbol in (("test_accuracy", VERMILLION, "line-ew"), ("alone_test_accuracy", GREY, "line-ew")):
        _add_confirmed(figure, numbers, name, colour, symbol)
    if not math.isnan(numbers.teacher_accuracy):
        _add_teacher(figure, numbers)
    sizes = [*numbers.points["parameters"], numbers.teacher_parameters]
    shown = [*numbers.points["accuracy"], numbers.teacher_accuracy, *numbers.confirmed.to_numpy().ravel().tolist()]
    accuracies = [accuracy for accuracy in shown if not math.isnan(accuracy)]
    values, texts = size_ticks(min(sizes), max(sizes))
    low, high = math.log10(max(1, min(sizes))), math.log10(max(1, *sizes))
    margin = 0.05 * (high - low) + 0.05
    figure.update_xaxes(type="log", range=[low - margin, high + margin], tickvals=values, ticktext=texts)
    ticks = accuracy_ticks(min(accuracies), max(accuracies))
    figure.update_yaxes(tickvals=[numbers.height(tick) for tick in ticks], ticktext=[f"{100 * t:.6g} %" for t in ticks])
    return figure


def _add_start(figure: go.Figure, numbers: ParetoNumbers, start: str, colour: str, symbol: str) -> None:
    """The trials of one start: dominated ones small and open, the front's large and filled."""
    mine = numbers.points[numbers.points["start"] == start]
    for on_front, points in mine.groupby("on_front"):
        marker = {"symbol": symbol, "size": 12} if on_front else {"symbol": f"{symbol}-open", "size": 8}
        figure.add_scatter(
            x=points["parameters"].tolist(),
            y=[numbers.height(accuracy) for accuracy in points["accuracy"]],
            mode="markers",
            marker={"color": colour, **marker},
            name=html.escape(f"start: {start}"[:40]),
            legendgroup=html.escape(start),
            showlegend=bool(on_front or not mine["on_front"].any()),
            hoverinfo="text",
            hovertext=[_hover(numbers, trial) for trial in points.index.tolist()],
        )


def _confirmed(complete: pd.DataFrame) -> pd.DataFrame:
    names = [stem for stem in _INTERVALS if stem in complete]
    columns = [column for stem in names for column in _INTERVALS[stem]]
    return complete[columns].astype(float).dropna(how="all")


def _add_confirmed(figure: go.Figure, numbers: ParetoNumbers, name: str, colour: str, symbol: str) -> None:
    """Means over fresh seeds with their 95 % intervals, on the test split."""
    if name not in numbers.confirmed:
        return
    mean, low, high = _INTERVALS[name]
    rows = numbers.confirmed.dropna(subset=[mean])
    sizes = numbers.points.loc[rows.index, "parameters"].tolist()
    heights = [[numbers.height(accuracy) for accuracy in rows[column]] for column in (mean, low, high)]
    told = "distilled, test, fresh seeds" if name == "test_accuracy" else "the same student alone, test"
    figure.add_scatter(
        # side by side: the student and itself alone have one size
        x=[size * (_ASIDE if name == "test_accuracy" else 1 / _ASIDE) for size in sizes],
        y=heights[0],
        mode="markers",
        marker={"symbol": symbol, "size": 12, "color": colour, "line": {"width": 2, "color": colour}},
        error_y={
            "type": "data",
            "array": [top - middle for middle, top in zip(heights[0], heights[2], strict=True)],
            "arrayminus": [middle - bottom for middle, bottom in zip(heights[0], heights[1], strict=True)],
            "color": colour,
            "thickness": 1.5,
        },
        name=told,
        hoverinfo="text",
        hovertext=[
            f"<b>trial {trial}</b>, {told}<br>{100 * row[mean]:.2f} % ({100 * row[low]:.2f} to {100 * row[high]:.2f})"
            for trial, row in rows.iterrows()
        ],
    )


def _add_teacher(figure: go.Figure, numbers: ParetoNumbers) -> None:
    accuracy = f"{100 * numbers.teacher_accuracy:.2f} % validation accuracy"
    height = numbers.height(numbers.teacher_accuracy)
    figure.add_hline(y=height, line={"color": GREY, "width": 1, "dash": "dot"})
    figure.add_scatter(
        x=[numbers.teacher_parameters],
        y=[height],
        mode="markers",
        marker={"symbol": "star", "size": 15, "color": VERMILLION},
        name="teacher",
        hoverinfo="text",
        hovertext=[f"<b>teacher</b><br>{numbers.teacher_parameters:,} parameters<br>{accuracy}"],
    )


def _hover(numbers: ParetoNumbers, trial: int) -> str:
    """Plotly reads some HTML in hover texts, and names and values come from a database: all of them are escaped."""
    row = numbers.points.loc[trial].to_dict()
    share = row["parameters"] / numbers.teacher_parameters
    lines = [
        f"{row['parameters']:,} parameters, {percent(share)} % of the teacher's",
        f"{100 * row['accuracy']:.2f} % validation accuracy",
        "",
        *_wrapped([f"{name} {value}" for name, value in row["recipe"].items()], width=44),
    ]
    title = f"<b>trial {trial}</b>{', on the front' if row['on_front'] else ''}"
    return "<br>".join([title, *(html.escape(line) for line in lines)])


def _wrapped(parts: list[str], width: int) -> list[str]:
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return lines
