"""Learning curves: validation accuracy over the epochs of each trial, the front before the others."""

import html
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from kdsearch.records import TrialRecord
from kdsearch.report.chart import Chart
from kdsearch.report.complete import left_out
from kdsearch.report.ink import GREY, accuracy_axis, height, layout, legend_name, lines, marks
from kdsearch.report.material import Material
from kdsearch.thinning import evenly

_OTHERS = 150
_FRONT = 60
_POINTS = 200
_RUNGS = 4
_SHAPES = {"start": "dot", "distil": "solid"}


@dataclass(frozen=True, kw_only=True)
class CurvesNumbers:
    """`points`: `trial`, `stage` (start or distil), `epoch` of the trial's whole budget from 1, validation `accuracy`
    after it, `on_front` and the name of its `start`; the points of a line follow one another. A stretch that one trial
    inherited from another is there once. Of `among` trials that have a curve the front and others are `drawn`.
    `rungs`: the epochs after which most trials were stopped early, with how many were. `validation` examples.
    """

    points: pd.DataFrame
    drawn: int
    among: int
    rungs: dict[int, int]
    validation: int


def chart(material: Material) -> Chart:
    """Missing where no trial has a curve of two epochs."""
    numbers = curves_numbers(material)
    enough = bool((numbers.points.groupby("trial")["epoch"].nunique() > 1).any())
    return Chart(
        name="curves",
        title="Learning curves",
        label="Validation accuracy over the epochs of each trial",
        note=(
            "Validation accuracy after each epoch, on the scale of the first chart; dotted while the start is trained, "
            "solid in distillation. Hints show no accuracy, as only layers below the classifier learn. The "
            "front in its starts' colours, the others grey; what trials share is drawn once."
            + left_out(numbers.drawn, numbers.among)
        ),
        figure=curves_figure(numbers) if enough else None,
        missing="" if enough else "No trial has the accuracies of two epochs on record yet: a curve needs two.",
        tall=True,
    )


def curves_numbers(material: Material) -> CurvesNumbers:
    front = set(material.table.index[material.table["on_front"]])
    last = {record.number: accuracy for record in material.records if (accuracy := record.last_accuracy) is not None}
    members = sorted(last.keys() & front, key=last.__getitem__)
    others = sorted(last.keys() - front, key=last.__getitem__)
    chosen = [members[place] for place in evenly(_FRONT, len(members))]
    chosen += [others[place] for place in evenly(_OTHERS, len(others))]
    by_number = {record.number: record for record in material.records}
    rows = list(_rows(by_number[number] for number in chosen))
    points = pd.DataFrame(rows, columns=["trial", "stage", "epoch", "accuracy", "start"])
    stopped = Counter(len(record.curve) for record in material.records if record.state == "pruned" and record.curve)
    return CurvesNumbers(
        points=points.assign(on_front=points["trial"].isin(front)),
        drawn=len(chosen),
        among=len(last),
        rungs=dict(sorted(stopped.most_common(_RUNGS))),
        validation=int(material.facts.data["validation"]),
    )


def curves_figure(numbers: CurvesNumbers) -> go.Figure:
    """Grey lines below, the front's above them in the colours of the other charts, rungs as vertical lines."""
    figure = go.Figure(layout=layout("epoch", "accuracy"))
    points = numbers.points
    _add_lines(figure, numbers, points[~points["on_front"]], {"color": GREY, "width": 1}, "other trials", 0.45)
    for start, (colour, _) in marks(sorted(points["start"].unique())).items():
        mine = points[points["on_front"] & (points["start"] == start)]
        _add_lines(figure, numbers, mine, {"color": colour, "width": 2.5}, f"front: {start}", 1.0)
    figure.update_yaxes(**accuracy_axis(points["accuracy"], numbers.validation))
    figure.update_xaxes(rangemode="tozero")
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"color": GREY, "width": 1, "dash": "dash"}}
    figure.update_layout(
        shapes=[line | {"x0": epoch, "x1": epoch} for epoch in numbers.rungs],
        annotations=[
            {"text": f"{count:,} stopped", "x": epoch, "y": 1, "yref": "paper", "yanchor": "bottom"}
            | {"showarrow": False, "font": {"size": 11, "color": GREY}}
            for epoch, count in numbers.rungs.items()
        ],
    )
    return figure


def _add_lines(
    figure: go.Figure, numbers: CurvesNumbers, points: pd.DataFrame, line: dict[str, Any], name: str, opacity: float
) -> None:
    """One trace a stage for all of these, however many they are."""
    for stage, dash in _SHAPES.items():
        mine = points[points["stage"] == stage]
        if mine.empty:
            continue
        heights = height(mine["accuracy"], numbers.validation)
        figure.add_scatter(
            **lines(mine["trial"], mine["epoch"], heights),
            mode="lines",
            line=line | {"dash": dash},
            opacity=opacity,
            name=legend_name(name),
            legendgroup=html.escape(name),
            showlegend=stage == "distil",
            hoverinfo="none",
        )


def _rows(records: Iterable[TrialRecord]) -> Iterator[tuple[int, str, int, float, str]]:
    """The points of each line; the solid one goes on where the dotted one ends."""
    drawn: dict[int, int] = {}  # of whose curves how many epochs have been drawn already, by itself or by an heir
    for record in records:
        inherited = record.inherited
        before = drawn.get(record.number, 0)
        if inherited is not None:
            before = max(before, min(inherited.epochs, drawn.get(inherited.trial, 0)))
            drawn[inherited.trial] = max(inherited.epochs, drawn.get(inherited.trial, 0))
        drawn[record.number] = len(record.curve)
        first = max(0, before - 1)  # from where they part, one point in common
        known = [
            (place + 1, line["validation_accuracy"], "distil" if _distilling(line) else "start")
            for place, line in enumerate(record.curve)
            if place >= first and "validation_accuracy" in line
        ]
        begun = [epoch for epoch, _, stage in known if stage == "start"]
        start = str(record.described.get("start", "unknown"))
        for stage in _SHAPES:
            line = [
                (epoch, accuracy)
                for epoch, accuracy, own in known
                if own == stage or (stage == "distil" and begun and epoch == begun[-1])
            ]
            if stage == "start" and len(line) < 2:
                continue  # no line; the solid one begins there
            for place in evenly(_POINTS, len(line)):
                yield record.number, stage, *line[place], start


def _distilling(line: dict[str, Any]) -> bool:
    return line["stage"] not in ("hints", "pretrain")
