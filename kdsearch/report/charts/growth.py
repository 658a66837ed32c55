"""Hypervolume over the complete trials: how the search went."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from kdsearch.report.chart import Chart
from kdsearch.report.ink import BLUE, layout
from kdsearch.report.material import Material
from kdsearch.store import StudyFacts


@dataclass(frozen=True, kw_only=True)
class HypervolumeNumbers:
    """`steps`: one row per complete trial in the order they ended: `order` from 1, `trial`, `hypervolume` of all
    trials so far, and `grew`, whether this trial raised it.
    """

    steps: pd.DataFrame


def chart(material: Material) -> Chart:
    """Missing before the second complete trial."""
    numbers = hypervolume_numbers(material.table, material.facts)
    enough = len(numbers.steps) > 1
    return Chart(
        name="growth",
        title="How the search went",
        label="Hypervolume over complete trials",
        note=(
            "Hypervolume after each complete trial; a dot where a trial raised it. A line that has long been flat says "
            "that more trials of the same kind may find little."
        ),
        figure=hypervolume_figure(numbers) if enough else None,
        missing="" if enough else "With one complete trial there is no progress to draw yet.",
    )


def hypervolume_numbers(table: pd.DataFrame, facts: StudyFacts) -> HypervolumeNumbers:
    complete = table[table["state"] == "complete"].dropna(subset=["hypervolume"])
    ended = complete.sort_values(["ended_ms", "hypervolume"])
    volumes = ended["hypervolume"].astype(float)
    steps = pd.DataFrame(
        {
            "order": range(1, len(ended) + 1),
            "trial": ended.index.astype(int),
            "hypervolume": volumes.to_numpy(),
            "grew": volumes.diff().fillna(volumes).to_numpy() > 0,
        }
    )
    return HypervolumeNumbers(steps=steps)


def hypervolume_figure(numbers: HypervolumeNumbers) -> go.Figure:
    """A step line over the complete trials; a dot where a trial raised the hypervolume."""
    figure = go.Figure(layout=layout("complete trials so far", "hypervolume"))
    steps, grew = numbers.steps, numbers.steps[numbers.steps["grew"]]
    figure.add_scatter(
        x=steps["order"].tolist(),
        y=steps["hypervolume"].tolist(),
        mode="lines",
        line={"shape": "hv", "color": BLUE, "width": 2},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=grew["order"].tolist(),
        y=grew["hypervolume"].tolist(),
        mode="markers",
        marker={"color": BLUE, "size": 8},
        hoverinfo="text",
        hovertext=[f"<b>trial {row.trial}</b><br>raised it to {row.hypervolume:.4f}" for row in grew.itertuples()],
    )
    figure.update_layout(showlegend=False)
    return figure
