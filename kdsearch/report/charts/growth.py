"""Hypervolume over what was spent: how the search went, and what was stopped or lost on the way."""

from collections import Counter
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from kdsearch.report.axes import Axis, Switch
from kdsearch.report.chart import Chart
from kdsearch.report.ink import BLUE, GREY, ORANGE, VERMILLION, layout
from kdsearch.report.material import Material
from kdsearch.report.spending import Spending

_AXES = {"epochs": "epochs spent", "minutes": "minutes at work", "order": "complete trials"}
_LOST = {
    "pruned": ("stopped", "line-ns", ORANGE),
    "failed": ("failed", "x-thin", VERMILLION),
    "screened": ("screened", "line-ns", GREY),
}


@dataclass(frozen=True, kw_only=True)
class GrowthNumbers:
    """`steps`: one row per complete trial in the order they ended: `order` from 1, `trial`, `hypervolume` of all
    trials so far, and `grew`, whether this trial raised it; `epochs` that all trials had trained by then, and `minutes`
    at work (pauses between runs left out). `lost`: trials that gave no student, with `state` and where the search stood
    when they were stopped, as `order`, `epochs`, `minutes`. `rungs`: the epochs after which trials were stopped early,
    with how many were. Both epochs and minutes are 0 throughout where no epoch is on record.
    """

    steps: pd.DataFrame
    lost: pd.DataFrame
    rungs: dict[int, int]


def chart(material: Material) -> Chart:
    """Missing before the second complete trial."""
    numbers = growth_numbers(material)
    count = len(numbers.steps)
    return Chart(
        name="growth",
        title="How the search went",
        label="Hypervolume over what was spent",
        note=(
            "Hypervolume after each complete trial; a dot where a trial raised it. A line that has long been flat says "
            "that more trials of the same kind may find little." + _lost_words(numbers)
        ),
        figure=growth_figure(numbers) if count > 1 else None,
        missing=""
        if count > 1
        else f"{'One trial is' if count else 'No trial is'} complete: there is no progress to draw yet before two are.",
    )


def growth_numbers(material: Material) -> GrowthNumbers:
    table = material.table
    complete = table[table["state"] == "complete"].dropna(subset=["hypervolume"])
    ended = complete.sort_values(["ended_ms", "hypervolume"])
    volumes = ended["hypervolume"].astype(float)
    steps = pd.DataFrame(
        {
            "order": range(1, len(ended) + 1),
            "trial": ended.index.astype(int),
            "hypervolume": volumes.to_numpy(),
            "grew": volumes.diff().fillna(volumes).to_numpy() > 0,
            "moment": ended["ended_ms"].astype(float).to_numpy(),
        }
    )
    rows = [
        (record.number, record.state, _stopped_ms(record.state, record.curve, record.ended_ms or record.began_ms))
        for record in material.records
        if record.state in _LOST
    ]
    lost = pd.DataFrame(rows, columns=["trial", "state", "moment"]).astype({"moment": float})
    lost["order"] = steps["moment"].searchsorted(lost["moment"], side="right")
    spending = Spending.of(material.records, material.sessions)
    for part in (steps, lost):
        part["epochs"], part["minutes"] = spending.epochs(part["moment"]), spending.minutes(part["moment"])
    stopped = Counter(len(record.curve) for record in material.records if record.state == "pruned" and record.curve)
    return GrowthNumbers(
        steps=steps.drop(columns="moment"), lost=lost.drop(columns="moment"), rungs=dict(sorted(stopped.items()))
    )


def growth_figure(numbers: GrowthNumbers) -> go.Figure:
    """A step line, a dot where a trial raised the hypervolume, and below it what was stopped or lost, when."""
    figure = go.Figure(layout=layout("", "hypervolume"))
    steps, lost = numbers.steps, numbers.lost
    axes = [Axis(name=name, title=title) for name, title in _AXES.items() if steps[name].any()]
    switch = Switch(figure, axes)
    grew = steps[steps["grew"]]
    corners = pd.concat([grew, steps.tail(1)])  # between these the line is flat
    switch.add(
        {name: corners[name] for name in _AXES},
        corners["hypervolume"],
        mode="lines",
        line={"shape": "hv", "color": BLUE, "width": 2},
        hoverinfo="skip",
    )
    switch.add(
        {name: grew[name] for name in _AXES},
        grew["hypervolume"],
        mode="markers",
        marker={"color": BLUE, "size": 8},
        customdata=grew["trial"].tolist(),
        hoverinfo="none",
    )
    rows = [state for state in _LOST if (lost["state"] == state).any()]
    for state in rows:
        said, symbol, colour = _LOST[state]
        mine = lost[lost["state"] == state]
        switch.add(
            {name: mine[name] for name in _AXES},
            [rows.index(state)] * len(mine),
            mode="markers",
            marker={"symbol": symbol, "size": 8, "opacity": 0.7, "line": {"color": colour, "width": 1.5}},
            yaxis="y2",
            name=said,
            customdata=mine["trial"].tolist(),
            hoverinfo="none",
        )
    switch.finish()
    figure.update_layout(showlegend=False)
    if rows:
        _add_strip(figure, [_LOST[state][0] for state in rows])
    return figure


def _add_strip(figure: go.Figure, rows: list[str]) -> None:
    """A second y axis below the first, with a row for each kind of loss."""
    share = 0.08 * len(rows)
    figure.update_layout(
        yaxis={"domain": [share + 0.04, 1]},
        xaxis={"anchor": "y2"},
        yaxis2={
            "domain": [0, share],
            "range": [len(rows) - 0.5, -0.5],
            "tickvals": list(range(len(rows))),
            "ticktext": rows,
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
        },
    )


def _stopped_ms(state: str, curve: list[dict[str, object]], ended_ms: int) -> float:
    """When a trial was left: one that waited at a rung until the search ended came to that rung long before."""
    line = curve[-1] if curve and state == "pruned" else {}
    return float(str(line.get("at_ms", ended_ms)))


def _lost_words(numbers: GrowthNumbers) -> str:
    said = ""
    if numbers.rungs:
        places = ", ".join(f"{count:,} after epoch {epoch}" for epoch, count in list(numbers.rungs.items())[:6])
        said += f" Trials were stopped early: {places}{' and others' if len(numbers.rungs) > 6 else ''}."
    if len(numbers.lost):
        said += " Marks below the line say when trials were stopped, failed, or were screened before training."
    return said
