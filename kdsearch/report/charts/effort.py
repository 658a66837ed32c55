"""Where the time went, and what was saved."""

from dataclasses import dataclass

import plotly.graph_objects as go

from kdsearch.accounting import account
from kdsearch.report.chart import Chart
from kdsearch.report.ink import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, layout
from kdsearch.report.material import Material

_STAGES = {
    "start": ORANGE,
    "distil": BLUE,
    "evaluation": GREEN,
    "signals": PURPLE,
    "waiting": GREY,
    "checkpointing": VERMILLION,
}
_WORKERS = {"students": BLUE, "other work": SKY, "idle": GREY}
_EPOCHS = {"trained": BLUE, "stopped early": ORANGE, "shared starts": GREEN}
_COLOURS = {**_STAGES, **_WORKERS, **_EPOCHS}
_LEGIBLE = 30


@dataclass(frozen=True, kw_only=True)
class EffortNumbers:
    """`trials`: seconds by what all trials spent them on; `workers`: seconds that workers were there for, training and
    evaluating students, at other work, idle; empty before a run ended; `epochs`: trained, not trained as trials were
    stopped early, and inherited by shared starts. `teacher_passes`: runs of the teacher over the training set that its
    stored signals saved.
    """

    trials: dict[str, float]
    workers: dict[str, float]
    epochs: dict[str, float]
    teacher_passes: int


def chart(material: Material) -> Chart:
    """Missing where no trial has its seconds on record."""
    numbers = effort_numbers(material)
    some = sum(numbers.trials.values()) > 0
    return Chart(
        name="effort",
        title="Where the time went",
        label="Seconds by what they were spent on, and epochs that were saved",
        note=_note(numbers) if some else "",
        figure=effort_figure(numbers) if some else None,
        missing="" if some else "No trial has its seconds on record yet.",
        tall=True,
    )


def effort_numbers(material: Material) -> EffortNumbers:
    told = account(material.records, material.sessions)
    spent = told["seconds"]
    trials = {name: spent[name] for name in (*_STAGES, *sorted(spent.keys() - _STAGES.keys())) if spent.get(name)}
    offered = sum(session.seconds * session.workers for session in material.sessions)
    students = offered * (told["student_share"] or 0.0)
    busy = offered * (told["busy_share"] or 0.0)
    parts = (students, busy - students, offered - busy)
    saved = told["epochs_saved"]
    epochs = (told["epochs_trained"], saved["early_stopping"], saved["shared_starts"])
    return EffortNumbers(
        trials=trials,
        workers=dict(zip(_WORKERS, (max(0.0, round(part, 1)) for part in parts), strict=True)) if offered else {},
        epochs=dict(zip(_EPOCHS, map(float, epochs), strict=True)),
        teacher_passes=told["teacher_passes_saved"],
    )


def effort_figure(numbers: EffortNumbers) -> go.Figure:
    """Three stacked bars, of trials, workers and epochs, each part on a row of its own so that it can bear its name, in
    shares of their wholes.
    """
    figure = go.Figure(layout=layout("share, %", ""))
    names: list[str] = []
    for title, parts in (
        ("trials' time", numbers.trials),
        ("workers' time", numbers.workers),
        ("epochs", numbers.epochs),
    ):
        whole, before = sum(parts.values()), 0.0
        if not whole:
            continue
        names.append(f"<b>{title}</b>")
        for part, amount in parts.items():
            if not amount:
                continue
            share = 100 * amount / whole
            said = f"{amount:,.0f}" if title == "epochs" else duration(amount)
            _add_part(figure, len(names), before, share, _COLOURS.get(part, GREY), said)
            names.append(part)
            before += share
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.4, -0.6], showgrid=False
    )
    figure.update_xaxes(range=[0, 100])
    figure.update_layout(showlegend=False, bargap=0.15)
    return figure


def _add_part(figure: go.Figure, row: int, before: float, share: float, colour: str, said: str) -> None:
    """A part's bar where the stack has come to, and beside it, where there is room, how much it is."""
    figure.add_bar(
        x=[round(share, 2)],
        y=[row],
        base=[round(before, 2)],
        orientation="h",
        marker={"color": colour},
        hoverinfo="skip",
    )
    inside, left = share > _LEGIBLE, before > 50
    figure.add_scatter(
        x=[before + share / 2 if inside else before if left else before + share],
        y=[row],
        mode="text",
        text=[said if inside else f" {said} "],
        textposition="middle center" if inside else "middle left" if left else "middle right",
        textfont={"size": 12} | ({"color": "#ffffff"} if inside else {}),
        hoverinfo="skip",
        cliponaxis=False,
    )


def duration(seconds: float) -> str:
    """Seconds for people: 95 s, 12.5 min, 3.4 h."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _note(numbers: EffortNumbers) -> str:
    whole = sum(numbers.trials.values())
    saved = sum(numbers.epochs.values()) - numbers.epochs["trained"]
    idle = (
        f" Workers were idle for {100 * numbers.workers['idle'] / sum(numbers.workers.values()):.0f} % of their time."
        if sum(numbers.workers.values())
        else ""
    )
    return (
        f"Trials took {duration(whole)} together, waiting included.{idle} {saved:,.0f} epochs were saved by early "
        f"stopping and shared starts beside {numbers.epochs['trained']:,.0f} that were trained, and "
        f"{numbers.teacher_passes:,} passes of the teacher over the training set by its stored signals."
    )
