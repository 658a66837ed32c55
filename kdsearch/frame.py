"""Trials as one tidy pandas DataFrame, and what is read off it: front and hypervolume."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdsearch import pareto
from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.study import signs


def frame(records: Sequence[TrialRecord], facts: StudyFacts) -> pd.DataFrame:
    """One row per trial, indexed by its number.

    Columns: `state`; the measured figures (`accuracy`, `parameters`, `macs`, `size_kb` and the study's other
    objectives), NaN until known; `share`, the parameters as a fraction of the teacher's; `on_front`; `hypervolume`
    of all trials up to and including this one; `seconds` of work; `reason`; `began_ms`, `ended_ms`; then the recipe
    flat (`family`, `width`, `depth`, `start`, `temperature`, `alpha` ...).
    """
    rows = [
        {
            "trial": record.number,
            "state": record.state,
            **record.known,
            **record.measured,
            "seconds": record.seconds,
            "reason": record.reason,
            "began_ms": record.began_ms,
            "ended_ms": record.ended_ms,
            **record.described,
        }
        for record in records
    ]
    table = pd.DataFrame(rows)
    for column in ("trial", "state", "accuracy", "parameters", "seconds", "reason", "ended_ms"):
        if column not in table:
            table[column] = pd.Series(dtype=object if column in ("state", "reason") else float)
    table = table.set_index("trial").sort_index()
    table["share"] = table["parameters"] / facts.teacher["parameters"]
    table["on_front"] = False
    measured = comparable(table, facts)
    if len(measured):
        table.loc[measured.index[pareto.front(points(measured, facts.objectives))], "on_front"] = True
    table["hypervolume"] = _hypervolumes(table, facts)
    return table


def comparable(table: pd.DataFrame, facts: StudyFacts) -> pd.DataFrame:
    """The complete trials that have all of the study's objectives: the others can stand on no front."""
    complete = table[table["state"] == "complete"]
    if any(name not in table for name in facts.objectives):
        return complete[:0]
    return complete.dropna(subset=list(facts.objectives))


def front(table: pd.DataFrame) -> pd.DataFrame:
    """The non-dominated complete trials by rising parameters."""
    return table[table["on_front"]].sort_values(["parameters", "accuracy"])


def hypervolume(table: pd.DataFrame, facts: StudyFacts) -> float:
    """Accuracy above the reference's times log10 parameters below the teacher's, over all complete trials."""
    complete = table[table["state"] == "complete"]
    return pareto.hypervolume(plane(complete), _reference(facts))


def plane(table: pd.DataFrame) -> pareto.Points:
    """(accuracy, log10 parameters) with both to be minimized, (N, 2)."""
    return np.column_stack([-table["accuracy"].astype(float), np.log10(table["parameters"].astype(float))])


def _reference(facts: StudyFacts) -> pareto.Points:
    return np.array([-facts.reference["accuracy"], np.log10(facts.reference["parameters"])])


def points(table: pd.DataFrame, objectives: Sequence[str]) -> pareto.Points:
    """The objectives, all to be minimized, (N, D)."""
    return np.column_stack(
        [sign * table[name].astype(float) for sign, name in zip(signs(objectives), objectives, strict=True)]
    )


def _hypervolumes(table: pd.DataFrame, facts: StudyFacts) -> pd.Series:
    """After each trial, in the order in which trials ended; NaN for those that are not complete."""
    complete = table[table["state"] == "complete"].sort_values("ended_ms", kind="stable")
    grown = pareto.hypervolumes(plane(complete), _reference(facts))
    return pd.Series(grown, index=complete.index, dtype=float).reindex(table.index)
