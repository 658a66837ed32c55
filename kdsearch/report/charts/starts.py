"""Start strategies compared: in matched pairs where these were trained, else over all trials at comparable size."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from kdsearch.comparable import share_right
from kdsearch.evidence import Interval, mean_interval
from kdsearch.findings import Finding
from kdsearch.report.chart import Chart
from kdsearch.report.complete import complete_trials, left_out, size_curve, thinned
from kdsearch.report.ink import GREY, layout, marks, rounded
from kdsearch.report.material import Material
from kdsearch.study import CONFIRM

_FEWEST = 5
"""Trials of a start below which its mean says nothing."""
_MOST = 1_000
_PREFIX = "start "


@dataclass(frozen=True, kw_only=True)
class StartsNumbers:
    """`rows`: one for each start and what it was compared on: `label`, `mean` with `low` and `high`, `count`, and
    `whole`, whether it stands for all, else for the trial in `told`. In `matched` pairs a mean is of the difference in
    test accuracy from the same recipe with the start `reference`, over `count` seeds; else of validation accuracies
    over `count` trials, each moved to what its student would have with `size` parameters, and `trials` has these, by
    number: `label`, `accuracy` and `on_front`; `among` are there. All are fractions.
    """

    rows: pd.DataFrame
    matched: bool
    reference: str = ""
    size: int = 0
    trials: pd.DataFrame
    among: int = 0
    left_out: tuple[str, ...] = ()


def chart(material: Material) -> Chart:
    """Missing where fewer than two starts have five complete trials and no pairs were trained."""
    numbers = starts_numbers(material)
    missing = ""
    if len(numbers.rows) < (1 if numbers.matched else 2):
        missing = (
            f"Fewer than two starts have {_FEWEST} complete trials. "
            "kdsearch confirm --compare start trains matched pairs."
        )
    return Chart(
        name="starts",
        title="Starts compared",
        label="What each start gave, with 95 % intervals",
        note=_note(numbers),
        figure=None if missing else starts_figure(numbers),
        missing=missing,
    )


def starts_numbers(material: Material) -> StartsNumbers:
    rows, reference = _matched(material.findings)
    if rows:
        return StartsNumbers(rows=_frame(rows), matched=True, reference=reference, trials=pd.DataFrame())
    points = complete_trials(material.table)
    if points.empty:
        return StartsNumbers(rows=_frame([]), matched=False, trials=pd.DataFrame())
    curve, size = size_curve(points), int(points["parameters"].median())
    beyond = curve.beyond(points["accuracy"], points["parameters"].clip(lower=1))
    moved = points.assign(label=points["start"], accuracy=share_right(curve.expected([max(1, size)]) + beyond))
    counts = moved["label"].value_counts()
    enough = sorted(counts.index[counts >= _FEWEST])
    validation = int(material.facts.data["validation"])
    for label in enough:
        found = mean_interval(moved.loc[moved["label"] == label, "accuracy"].to_dict(), validation)
        rows.append((label, found, True, f"{found.seeds:,} trials"))
    known = moved[moved["label"].isin(enough)]
    return StartsNumbers(
        rows=_frame(rows),
        matched=False,
        size=size,
        trials=thinned(known, _MOST)[["label", "accuracy", "on_front"]],
        among=len(known),
        left_out=tuple(sorted(counts.index[counts < _FEWEST])),
    )


def starts_figure(numbers: StartsNumbers) -> go.Figure:
    """A row for each, the interval as a bar; in matched pairs the line is where the start makes no difference."""
    title = f"points beside start {numbers.reference}" if numbers.matched else "accuracy at one size, %"
    figure = go.Figure(layout=layout(html.escape(title), ""))
    rows = numbers.rows
    starts = marks(sorted({_kind(label) for label in rows["label"]}))
    for group, mine in rows.assign(place=range(len(rows))).groupby(["whole", "label"], sort=False):
        whole, label = bool(group[0]), str(group[1])
        colour, symbol = starts[_kind(label)]
        middle, bottom, top = (100 * mine[name] for name in ("mean", "low", "high"))
        if len(numbers.trials):
            _add_trials(figure, numbers.trials[numbers.trials["label"] == label], int(mine["place"].iloc[0]), colour)
        figure.add_scatter(
            x=rounded(middle),
            y=mine["place"].tolist(),
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 12 if whole else 7},
            error_x={"type": "data", "array": rounded(top - middle), "arrayminus": rounded(middle - bottom)}
            | {"color": colour, "thickness": 3 if whole else 1.5, "width": 0},
            hoverinfo="text",
            hovertext=[
                f"<b>{html.escape(label)}</b>, {told}<br>"
                f"{_said(numbers, mean)} ({_said(numbers, low)} to {_said(numbers, high)})"
                for told, mean, low, high in mine[["told", "mean", "low", "high"]].to_numpy().tolist()
            ],
        )
    if numbers.matched:
        figure.add_vline(x=0, line={"color": GREY, "width": 1})
    brief = _brief(rows["label"].tolist())
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[
            f"<b>{html.escape(name)}</b><br>{told}" if whole else told
            for name, whole, told in zip(brief, rows["whole"], rows["told"], strict=True)
        ],
        range=[len(rows) - 0.5, -0.6],
        showgrid=False,
    )
    figure.update_layout(showlegend=False)
    return figure


def _matched(findings: Sequence[Finding]) -> tuple[list[tuple[str, Interval, bool, str]], str]:
    """Rows of pairs that differ in the start alone, and what they are compared to: of the comparison of starts, else
    of a confirmation beside the study's other starts, whose differences are of the trial's own start minus the other.
    """
    for name, sign in (("start", 1), (CONFIRM, -1)):
        found = [
            (arm.label.removeprefix(_PREFIX), _signed(arm.difference, sign), finding)
            for finding in findings
            for arm in finding.arms[1:]
            if finding.name == name and arm.label.startswith(_PREFIX) and arm.difference is not None
        ]
        if not found:
            continue
        pooled = {label for label, _, finding in found if finding.trial is None}
        labels = list(dict.fromkeys(label for label, *_ in found))
        rows = [
            (label, interval, finding.trial is None or label not in pooled, _told(finding))
            for label, interval, finding in sorted(
                found, key=lambda one: (labels.index(one[0]), one[2].trial is not None)
            )
        ]
        reference = found[0][2].arms[0].label.removeprefix(_PREFIX) if name == "start" else "of the trial itself"
        return rows, reference
    return [], ""


def _signed(interval: Interval, sign: int) -> Interval:
    if sign > 0:
        return interval
    return Interval(mean=-interval.mean, low=-interval.high, high=-interval.low, seeds=interval.seeds)


def _told(finding: Finding) -> str:
    return f"{finding.members} students" if finding.trial is None else f"trial {finding.trial}"


def _frame(rows: Sequence[tuple[str, Interval, bool, str]]) -> pd.DataFrame:
    return pd.DataFrame(
        [(label, one.mean, one.low, one.high, one.seeds, whole, told) for label, one, whole, told in rows],
        columns=["label", "mean", "low", "high", "count", "whole", "told"],
    )


def _add_trials(figure: go.Figure, trials: pd.DataFrame, place: int, colour: str) -> None:
    """The trials that a mean is of, above and below its bar so that they can be told apart."""
    spread = 0.15 + 0.2 * (np.arange(len(trials)) * 0.618034 % 1)  # the golden ratio never repeats itself
    side = np.where(np.arange(len(trials)) % 2, 1, -1)
    figure.add_scatter(
        x=rounded(100 * trials["accuracy"]),
        y=rounded(place + side * spread),
        mode="markers",
        marker={"color": colour, "size": 6, "opacity": 0.45},
        customdata=trials.index.tolist(),
        hoverinfo="none",
    )


def _kind(label: str) -> str:
    """The start's name, which its colour follows, without its values."""
    return label.split(" (")[0]


def _brief(labels: Sequence[str]) -> list[str]:
    """Labels without the values where the name alone tells starts apart."""
    kinds = {label: _kind(label) for label in labels}
    if len(set(kinds.values())) == len(kinds):
        return [kinds[label] for label in labels]
    return [label if len(label) <= 32 else f"{label[:31]}…" for label in labels]


def _said(numbers: StartsNumbers, value: float) -> str:
    return f"{100 * value:+.2f}" if numbers.matched else f"{100 * value:.2f} %"


def _note(numbers: StartsNumbers) -> str:
    if numbers.matched:
        return (
            f"Matched pairs: the same recipe trained on the same fresh seeds with start {numbers.reference} and with "
            "each other; differences in test accuracy in points, 95 % intervals that hold together. Where one holds "
            "0, no effect is seen."
        )
    few = f" Left out with fewer than {_FEWEST} trials: {', '.join(numbers.left_out)}." if numbers.left_out else ""
    return (
        f"No matched pairs were trained: these are all trials, each moved to what its student would have with "
        f"{numbers.size:,} parameters, and their means with 95 % intervals. The sampler chose what else differs "
        "between them, so this is a hint; kdsearch confirm --compare start trains matched pairs."
        + few
        + left_out(len(numbers.trials), numbers.among)
    )
