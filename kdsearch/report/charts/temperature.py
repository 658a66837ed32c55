"""Temperature and alpha against accuracy at comparable size."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from kdsearch.report.chart import Chart
from kdsearch.report.complete import beyond_size, complete_trials, left_out, numbers_in, thinned, too_few
from kdsearch.report.ink import GREY, RING, errors_scale, layout, rounded, size_ticks
from kdsearch.report.material import Material

_MOST = 2_000


@dataclass(frozen=True, kw_only=True)
class TemperatureNumbers:
    """`points`: complete trials with a temperature and an alpha, by number: these two, `on_front`, and `beyond`, how
    far the logit of accuracy is above what students of that size have. `among` how many there are.
    """

    points: pd.DataFrame
    among: int


def chart(material: Material) -> Chart:
    """Missing below ten trials, and where temperature or alpha is one and the same in all of them."""
    numbers = temperature_numbers(material)
    missing = _missing(numbers.points)
    return Chart(
        name="temperature",
        title="Temperature and alpha",
        label="Temperature and alpha of every trial, coloured by accuracy at comparable size",
        note=(
            "Colour is the odds of an error beside those of the study's students of that size: blue has fewer, "
            "vermillion more; ×0.5 is half. Rings are the front. Size buys accuracy and is taken away here by a smooth "
            "curve, so that small and large students can be compared. One seed each: single marks are noise, look for "
            "regions." + left_out(len(numbers.points), numbers.among)
        ),
        figure=None if missing else temperature_figure(numbers),
        missing=missing,
    )


def temperature_numbers(material: Material) -> TemperatureNumbers:
    points = complete_trials(material.table)
    points["beyond"] = beyond_size(points)
    for column in ("temperature", "alpha"):
        points[column] = numbers_in(material, points, column)
    known = points[points["temperature"] > 0].dropna(subset=["alpha"])
    drawn = thinned(known, _MOST)
    return TemperatureNumbers(points=drawn[["temperature", "alpha", "on_front", "beyond"]], among=len(known))


def temperature_figure(numbers: TemperatureNumbers) -> go.Figure:
    """Temperature on a log scale across, alpha up; the front's marks larger and ringed, over the others."""
    figure = go.Figure(layout=layout("temperature", "alpha"))
    for on_front in (False, True):
        points = numbers.points[numbers.points["on_front"] == on_front]
        figure.add_scatter(
            x=rounded(points["temperature"]),
            y=rounded(points["alpha"]),
            mode="markers",
            marker={
                "color": rounded(points["beyond"]),
                "coloraxis": "coloraxis",
                "size": 14 if on_front else 10,
                "line": RING if on_front else {"color": GREY, "width": 0.5},
            },
            customdata=points.index.tolist(),
            hoverinfo="none",
        )
    values, texts = size_ticks(numbers.points["temperature"].min(), numbers.points["temperature"].max())
    figure.update_xaxes(type="log", tickvals=values, ticktext=texts)
    figure.update_layout(coloraxis=errors_scale(numbers.points["beyond"]), showlegend=False)
    return figure


def _missing(points: pd.DataFrame) -> str:
    if few := too_few(len(points), " with a temperature and an alpha"):
        return few
    for column in ("temperature", "alpha"):
        if points[column].nunique() == 1:
            return f"Every trial has the {column} {points[column].iloc[0]:.4g}: there is nothing to compare."
    return ""
