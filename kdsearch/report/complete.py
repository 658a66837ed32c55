"""The complete trials as charts need them."""

import numpy as np
import pandas as pd

from kdsearch.comparable import SizeCurve
from kdsearch.report.material import Material
from kdsearch.thinning import evenly

FEWEST = 10
"""Complete trials below which a chart would show patterns in noise."""


def complete_trials(table: pd.DataFrame) -> pd.DataFrame:
    """By trial: `parameters`, `accuracy`, `on_front`, `start`."""
    known = table[table["state"] == "complete"].dropna(subset=["accuracy", "parameters"])
    starts = known["start"].fillna("unknown").astype(str) if "start" in known else "unknown"
    return pd.DataFrame(
        {
            "parameters": known["parameters"].astype(int),
            "accuracy": known["accuracy"].astype(float),
            "on_front": known["on_front"].astype(bool),
            "start": starts,
        },
        index=known.index,
    )


def size_curve(points: pd.DataFrame) -> SizeCurve:
    """What size explains of the accuracy of complete trials, of which there is at least one."""
    return SizeCurve.through(points["accuracy"], points["parameters"].clip(lower=1))


def beyond_size(points: pd.DataFrame) -> "pd.Series[float]":
    """By trial, how far the logit of accuracy is above what students of its size have; empty for no trial."""
    if points.empty:
        return pd.Series(dtype=float)
    sizes = points["parameters"].clip(lower=1)
    return pd.Series(size_curve(points).beyond(points["accuracy"], sizes), index=points.index)


def numbers_in(material: Material, points: pd.DataFrame, column: str) -> "pd.Series[float]":
    """The numbers in a column of the table for these trials, NaN where one has none."""
    if column not in material.table:
        return pd.Series(np.nan, index=points.index)
    column_N = pd.to_numeric(material.table[column], errors="coerce")
    return pd.Series(column_N, dtype=float).reindex(points.index)


def thinned(points: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` of these beside the whole front, evenly over their accuracies, so that a browser can draw them;
    in their own order.
    """
    others = points[~points["on_front"]].sort_values("accuracy", kind="stable").index
    kept = others[evenly(count, len(others))]
    return points[points["on_front"] | points.index.isin(kept)]


def left_out(kept: int, among: int, what: str = "trials") -> str:
    """A sentence for a note, where not all are drawn."""
    return (
        "" if kept == among else f" {kept:,} of {among:,} {what} are drawn: the front, and others evenly by accuracy."
    )


def too_few(count: int, having: str = "") -> str:
    """What a chart says that has fewer than `FEWEST` complete trials to go by; empty where it has enough."""
    if count >= FEWEST:
        return ""
    return f"Needs {FEWEST} complete trials{having}, and has {count}: with fewer, a pattern would be noise."
