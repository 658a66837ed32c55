"""Which layer of the teacher hinted which of the student, against accuracy at comparable size."""

import html
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from kdsearch.report.chart import Chart
from kdsearch.report.columns import shown
from kdsearch.report.complete import beyond_size, complete_trials, too_few
from kdsearch.report.ink import errors_scale, layout, times
from kdsearch.report.material import Material

_PAIR = ("teacher_layer", "student_layer")
_MOST = 12


@dataclass(frozen=True, kw_only=True)
class LayersNumbers:
    """`cells`: one row for each pair of layers that complete trials have, `teacher_layer` and `student_layer` as texts:
    `trials`, how many, and `beyond`, by how much the logit of their accuracy is above what students of their size have,
    on average. `trials` of all of them. `teacher_layers` and `student_layers` in order, at most twelve each, those
    that most trials have.
    """

    cells: pd.DataFrame
    trials: int
    teacher_layers: list[str]
    student_layers: list[str]


def chart(material: Material) -> Chart:
    """Missing where fewer than ten complete trials have hints, or all have the same pair of layers."""
    numbers = layers_numbers(material)
    missing = too_few(numbers.trials, " that started with hints")
    if not missing and len(numbers.cells) < 2:
        missing = "All hints join the same two layers: there is nothing to compare."
    return Chart(
        name="layers",
        title="Layers that hints join",
        label="Teacher's layer by student's layer, coloured by accuracy at comparable size",
        note=(
            "The odds of an error, on average over the trials of each pair, beside those of the study's students of "
            "that size: ×0.5 is half. Below it the number of trials: a pair of one or two says little."
        ),
        figure=None if missing else layers_figure(numbers),
        missing=missing,
    )


def layers_numbers(material: Material) -> LayersNumbers:
    points = complete_trials(material.table)
    points["beyond"] = beyond_size(points)
    pairs = _pairs(material, points)
    known = points.join(pairs, how="inner")
    cells = known.groupby(list(_PAIR), sort=False)["beyond"].agg(["mean", "size"]).reset_index()
    cells.columns = pd.Index([*_PAIR, "beyond", "trials"])
    return LayersNumbers(
        cells=cells,
        trials=len(known),
        teacher_layers=_ordered(known["teacher_layer"]),
        student_layers=_ordered(known["student_layer"]),
    )


def layers_figure(numbers: LayersNumbers) -> go.Figure:
    """A grid, the student's layers across and the teacher's up; deeper is farther from the corner."""
    figure = go.Figure(layout=layout("student's layer", "teacher's layer"))
    grid = {
        name: numbers.cells.pivot_table(index=_PAIR[0], columns=_PAIR[1], values=name).reindex(
            index=numbers.teacher_layers, columns=numbers.student_layers
        )
        for name in ("beyond", "trials")
    }
    mean, count = (grid[name].to_numpy() for name in ("beyond", "trials"))
    texts = [
        [
            "" if n != n else f"{times(value)}<br>{n:.0f} trial{'s' if n > 1 else ''}"
            for value, n in zip(*row, strict=True)
        ]
        for row in zip(mean, count, strict=True)
    ]
    figure.add_heatmap(
        x=[html.escape(shown(layer)) for layer in numbers.student_layers],
        y=[html.escape(shown(layer)) for layer in numbers.teacher_layers],
        z=[[None if value != value else round(value, 4) for value in row] for row in mean.tolist()],
        text=texts,
        texttemplate="%{text}",
        textfont={"color": "#111111", "size": 12},
        coloraxis="coloraxis",
        xgap=3,
        ygap=3,
        hoverinfo="skip",
    )
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False)
    figure.update_layout(coloraxis=errors_scale(numbers.cells["beyond"]))
    return figure


def _pairs(material: Material, points: pd.DataFrame) -> pd.DataFrame:
    """By trial, both layers as texts: as the space asked for them where it did, as relative positions are alike in
    students of different depth; else as the recipe names them.
    """
    asked = {
        record.number: [str(record.params[name]) for name in _PAIR]
        for record in material.records
        if all(name in record.params for name in _PAIR)
    }
    columns = [name for name in _PAIR if name in material.table]
    if len(columns) < len(_PAIR):
        return pd.DataFrame(columns=list(_PAIR))
    named = material.table.loc[points.index, columns].dropna().astype(str)
    if set(named.index) <= asked.keys():
        return pd.DataFrame.from_dict({number: asked[number] for number in named.index}, orient="index", columns=_PAIR)
    return named


def _ordered(layers: "pd.Series[str]") -> list[str]:
    """The most frequent layers in the order of their names, numbers in them by value."""
    return sorted(layers.value_counts().index[:_MOST], key=_by_number)


def _by_number(layer: str) -> list[Any]:
    return [
        (0, float(part), "") if re.fullmatch(r"\d+(\.\d+)?", part) else (1, 0.0, part)
        for part in re.split(r"(\d+(?:\.\d+)?)", layer)
    ]
