"""Studies side by side: their fronts in one chart, their hypervolumes from one reference."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from kdsearch import pareto
from kdsearch.report.axes import log_axis
from kdsearch.report.chart import Chart
from kdsearch.report.complete import complete_trials
from kdsearch.report.ink import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    accuracy_axis,
    height,
    layout,
    legend_name,
    rounded,
)
from kdsearch.report.material import Material
from kdsearch.report.spending import Spending

_INKS = (
    *((BLUE, "circle", "solid"), (VERMILLION, "diamond", "dash"), (GREEN, "square", "dot")),
    *((ORANGE, "triangle-up", "dashdot"), (PURPLE, "cross", "longdash"), (SKY, "x", "longdashdot")),
)


@dataclass(frozen=True, kw_only=True)
class ComparisonNumbers:
    """`fronts`: `study`, `trial`, `parameters`, validation `accuracy` of each study's trials that none of its own
    dominates in these two, by rising parameters. `growth`: `study`, `epochs` spent, `hypervolume` of all its trials by
    then, one row where it grew and one at the end. `volumes`: each study's hypervolume in the end, from one reference
    for all: `reference_accuracy`, the lowest of the studies', and `reference_parameters`, the largest. `teachers`:
    `study`, `parameters`, `accuracy`. `names` tell studies of one name apart; `caution` says why they can hardly be
    compared, if so. `validation` examples, the most of any study.
    """

    names: list[str]
    fronts: pd.DataFrame
    growth: pd.DataFrame
    volumes: dict[str, float]
    teachers: pd.DataFrame
    reference_accuracy: float
    reference_parameters: float
    validation: int
    caution: str = ""


def comparison_charts(materials: Sequence[Material]) -> list[Chart]:
    """The fronts, and how the hypervolumes grew; missing where no study has a complete trial."""
    numbers = comparison_numbers(materials)
    missing = "" if len(numbers.fronts) else "No study has a complete trial yet."
    caution = f" {numbers.caution}" if numbers.caution else ""
    return [
        Chart(
            name="fronts",
            title="Fronts",
            label="Validation accuracy against parameters of each study's front, beside its teacher",
            note=f"Each study's front by its own validation split; stars are teachers.{caution}",
            figure=None if missing else fronts_figure(numbers),
            missing=missing,
            tall=True,
        ),
        Chart(
            name="volumes",
            title="Hypervolume from one reference",
            label="Hypervolume of each study over epochs spent",
            note=(
                f"Hypervolume over the epochs that all trials trained, from one reference for all: accuracy above "
                f"{numbers.reference_accuracy:.4g} times log10 of parameters below {numbers.reference_parameters:,.0f} "
                f"(the lowest and the largest of the studies' own).{caution}"
            ),
            figure=None if missing else volumes_figure(numbers),
            missing=missing,
        ),
    ]


def comparison_numbers(materials: Sequence[Material]) -> ComparisonNumbers:
    """Raises `ValueError` for fewer than two studies."""
    if len(materials) < 2:
        raise ValueError(f"a comparison needs at least two studies, got {len(materials)}")
    names = _names(materials)
    lowest = min(float(material.facts.reference["accuracy"]) for material in materials)
    largest = max(float(material.facts.reference["parameters"]) for material in materials)
    growths = [_growth(material, np.array([-lowest, np.log10(largest)])) for material in materials]
    teachers = [
        (name, int(material.facts.teacher["parameters"]), float(material.facts.teacher["accuracy"]))
        for name, material in zip(names, materials, strict=True)
    ]
    return ComparisonNumbers(
        names=names,
        fronts=_joined(names, [_front(material) for material in materials]),
        growth=_joined(names, growths),
        volumes={
            name: float(growth["hypervolume"].iloc[-1]) if len(growth) else 0.0
            for name, growth in zip(names, growths, strict=True)
        },
        teachers=pd.DataFrame(teachers, columns=["study", "parameters", "accuracy"]),
        reference_accuracy=lowest,
        reference_parameters=largest,
        validation=max(int(material.facts.data["validation"]) for material in materials),
        caution=_caution(materials),
    )


def fronts_figure(numbers: ComparisonNumbers) -> go.Figure:
    """A step line and marks for each study, its teacher as a star in its colour."""
    figure = go.Figure(layout=layout("parameters", "accuracy"))
    for name, (colour, symbol, dash) in zip(numbers.names, cycle(_INKS), strict=False):
        front = numbers.fronts[numbers.fronts["study"] == name]
        teacher = numbers.teachers[numbers.teachers["study"] == name].dropna(subset=["accuracy"])
        shown = legend_name(name)
        figure.add_scatter(
            x=front["parameters"].tolist(),
            y=rounded(height(front["accuracy"], numbers.validation)),
            mode="lines+markers",
            line={"shape": "hv", "color": colour, "width": 1.5, "dash": dash},
            marker={"symbol": symbol, "color": colour, "size": 10},
            name=shown,
            legendgroup=shown,
            hoverinfo="text",
            hovertext=[
                f"<b>{shown}</b>, trial {trial}<br>{parameters:,} parameters<br>{100 * accuracy:.2f} %"
                for trial, parameters, accuracy in zip(
                    front["trial"], front["parameters"], front["accuracy"], strict=True
                )
            ],
        )
        figure.add_scatter(
            x=teacher["parameters"].tolist(),
            y=rounded(height(teacher["accuracy"], numbers.validation)),
            mode="markers",
            marker={"symbol": "star", "color": colour, "size": 15},
            legendgroup=shown,
            showlegend=False,
            hoverinfo="text",
            hovertext=[f"<b>teacher of {shown}</b><br>{100 * accuracy:.2f} %" for accuracy in teacher["accuracy"]],
        )
    sizes = [*numbers.fronts["parameters"], *numbers.teachers["parameters"]]
    axis = log_axis("parameters", "parameters", max(1, min(sizes)), max(sizes))
    figure.update_xaxes(type="log", range=axis.range, tickvals=axis.tickvals, ticktext=axis.ticktext)
    accuracies = [*numbers.fronts["accuracy"], *numbers.teachers["accuracy"]]
    figure.update_yaxes(**accuracy_axis(accuracies, numbers.validation))
    return figure


def volumes_figure(numbers: ComparisonNumbers) -> go.Figure:
    """A step line for each study, with a mark where it ended."""
    figure = go.Figure(layout=layout("epochs spent", "hypervolume"))
    for name, (colour, symbol, dash) in zip(numbers.names, cycle(_INKS), strict=False):
        mine = numbers.growth[numbers.growth["study"] == name]
        shown = legend_name(name)
        figure.add_scatter(
            x=rounded(mine["epochs"], 9),
            y=rounded(mine["hypervolume"]),
            mode="lines+markers",
            line={"shape": "hv", "color": colour, "width": 2, "dash": dash},
            marker={"symbol": symbol, "color": colour, "opacity": 1, "size": [0] * (len(mine) - 1) + [9]},
            name=shown,
            hoverinfo="text",
            hovertext=[
                f"<b>{shown}</b><br>{volume:.4f} after {epochs:,.0f} epochs"
                for epochs, volume in zip(mine["epochs"], mine["hypervolume"], strict=True)
            ],
        )
    return figure


def _names(materials: Sequence[Material]) -> list[str]:
    """The studies' names, numbered where some are alike, as those of two workspaces may be."""
    count = Counter(material.facts.name for material in materials)
    seen: Counter[str] = Counter()
    found = []
    for material in materials:
        name = material.facts.name
        seen[name] += 1
        found.append(f"{name} ({seen[name]})" if count[name] > 1 else name)
    return found


def _plane(points: pd.DataFrame) -> pareto.Points:
    return np.column_stack([-points["accuracy"].astype(float), np.log10(points["parameters"].clip(lower=1))])


def _front(material: Material) -> pd.DataFrame:
    points = complete_trials(material.table)
    members = points.iloc[pareto.front(_plane(points))]
    return members[["parameters", "accuracy"]].rename_axis("trial").reset_index()


def _growth(material: Material, reference_2: pareto.Points) -> pd.DataFrame:
    points = complete_trials(material.table)
    moments = material.table["ended_ms"].reindex(points.index).astype(float).sort_values(kind="stable")
    volumes = pareto.hypervolumes(_plane(points.loc[moments.index]), reference_2)
    epochs = Spending.of(material.records, material.sessions).epochs(moments)
    grew = np.diff(volumes, prepend=0.0) > 0
    grew[-1:] = True
    return pd.DataFrame({"epochs": epochs[grew], "hypervolume": volumes[grew]})


def _joined(names: Sequence[str], parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([part.assign(study=name) for name, part in zip(names, parts, strict=True)], ignore_index=True)


def _caution(materials: Sequence[Material]) -> str:
    first, *others = (material.facts for material in materials)
    if any(facts.data["fingerprint"] != first.data["fingerprint"] for facts in others):
        return "These studies have different data: their accuracies are not of the same examples."
    if any(facts.teacher["key"] != first.teacher["key"] for facts in others):
        return "These studies have different teachers."
    return ""
