"""Which sampled parameters mattered for accuracy at a given size."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from kdsearch.report.chart import Chart
from kdsearch.report.complete import complete_trials, too_few
from kdsearch.report.ink import BLUE, GREY, layout
from kdsearch.report.material import Material

if TYPE_CHECKING:
    from kdsearch.importance import Importance

_SEEN = 0.1
"""What a forest must foretell of trials left out for its shares to be more than a picture of noise."""


@dataclass(frozen=True, kw_only=True)
class ImportancesNumbers:
    """By falling importance. `shares` in [0, 1]; `seen`: whether the parameter's group foretells at least a tenth of
    the variance among trials left out.
    """

    parameters: list[str]
    shares: list[float]
    trials: list[int]
    seen: list[bool]


def chart(material: Material) -> Chart:
    """Missing where no parameter has an importance: below ten complete trials, or where accuracies do not vary."""
    numbers = importances_numbers(material.importances)
    missing = ""
    if not numbers.parameters:
        alike = "At comparable size all accuracies are alike: there is nothing to explain."
        missing = too_few(len(complete_trials(material.table)), " that have a parameter") or alike
    return Chart(
        name="importances",
        title="Which choices mattered",
        label="Importances of the sampled parameters",
        note=(
            "Share of the variance in accuracy at a given size (fANOVA on what a curve over size leaves), among the "
            "trials that have the parameter. Grey: all of its parameters together foretell under 10 % of the variance "
            "of trials left out, so that no effect is seen."
        ),
        figure=None if missing else importances_figure(numbers),
        tall=True,
        missing=missing,
    )


def importances_numbers(importances: "Sequence[Importance]") -> ImportancesNumbers:
    ordered = sorted(importances, key=lambda one: -one.share)
    return ImportancesNumbers(
        parameters=[one.parameter for one in ordered],
        shares=[float(one.share) for one in ordered],
        trials=[one.trials for one in ordered],
        seen=[one.explained >= _SEEN for one in ordered],
    )


def importances_figure(numbers: ImportancesNumbers) -> go.Figure:
    """A bar for each parameter, the most important on top."""
    figure = go.Figure(layout=layout("share of variance, %", ""))
    names = [html.escape(name if len(name) <= 24 else f"{name[:23]}…") for name in numbers.parameters]
    figure.add_bar(
        x=[round(100 * share, 2) for share in numbers.shares],
        y=list(range(len(names))),
        orientation="h",
        marker={"color": [BLUE if seen else GREY for seen in numbers.seen]},
        opacity=0.9,
        text=[f"{100 * share:.0f} %" for share in numbers.shares],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="text",
        hovertext=[
            f"<b>{html.escape(name)}</b><br>{100 * share:.1f} % among {trials:,} trials"
            for name, share, trials in zip(numbers.parameters, numbers.shares, numbers.trials, strict=True)
        ],
    )
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, autorange="reversed", showgrid=False)
    figure.update_xaxes(range=[0, 112 * max(numbers.shares, default=1)])
    figure.update_layout(bargap=0.35)
    return figure
