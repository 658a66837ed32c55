"""What is logged to a run, within MLflow's limits: metrics, params and tags, in as few calls as may be."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kdsearch.training import Epoch

if TYPE_CHECKING:
    from mlflow import MlflowClient

Point = tuple[str, float, int, int]
"""A metric's name, value, time in milliseconds, and step."""

PARAM_CHARACTERS, TAG_CHARACTERS, NOTE_CHARACTERS = 6000, 8000, 20000
_METRICS, _NAMED = 900, 100
_CUT = " ... (cut here: MLflow keeps no more)"


def log(
    client: "MlflowClient",
    run: str,
    *,
    metrics: Iterable[Point] = (),
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Log to a run in one call, or more where MLflow wants that. An infinite value is logged as NaN: MLflow would keep
    1.8e308 for it, and scale its charts to that.
    """
    from mlflow.entities import Metric, Param, RunTag

    points = [Metric(name, _shown(value), at_ms, step) for name, value, at_ms, step in metrics]
    named = [Param(key, cut(str(value), PARAM_CHARACTERS)) for key, value in (params or {}).items()]
    marks = [RunTag(key, cut(value, TAG_CHARACTERS)) for key, value in (tags or {}).items()]
    if len(points) + len(named) + len(marks) <= _METRICS and max(len(named), len(marks)) <= _NAMED:
        client.log_batch(run, metrics=points, params=named, tags=marks)
        return
    for begin in range(0, len(points), _METRICS):
        client.log_batch(run, metrics=points[begin : begin + _METRICS])
    for begin in range(0, max(len(named), len(marks)), _NAMED):
        some = slice(begin, begin + _NAMED)
        client.log_batch(run, params=named[some], tags=marks[some])


def cut(text: str, most: int) -> str:
    """`text`, or its beginning with a word on where it was cut."""
    return text if len(text) <= most else text[: most - len(_CUT)] + _CUT


def points(lines: Iterable[Epoch], start_epochs: int) -> list[Point]:
    """Lines of a curve as metrics by stage, whose step is the epoch of the whole budget.

    Without the seconds of each epoch, whose sums a trial has as metrics: MLflow draws a chart for every name, in
    alphabetical order, and `evaluation_seconds` came first. It made its pages no quicker: see benchmarks/mlflow_ui.py.
    """
    return [
        (
            f"{line['stage']}/{name}",
            value,
            line["at_ms"],
            line["epoch"] + (start_epochs if line["stage"] == "distil" else 0),
        )
        for line in lines
        for name, value in line.items()
        if name not in ("stage", "epoch", "at_ms", "seconds", "evaluation_seconds")
    ]


def _shown(value: float) -> float:
    return float(value) if math.isfinite(value) else math.nan
