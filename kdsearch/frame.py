"""Trials as one tidy pandas DataFrame, and what is read off it: front, hypervolume, choices."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from kdsearch import pareto
from kdsearch.mistakes import Mistake
from kdsearch.store import StudyFacts, TrialRecord
from kdsearch.study import signs

Rule = Literal["knee", "accurate", "smallest"]
RULES: tuple[Rule, ...] = ("knee", "accurate", "smallest")


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
        table.loc[measured.index[pareto.front(_points(measured, facts.objectives))], "on_front"] = True
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
    return pareto.hypervolume(_plane(complete), _reference(facts))


def pick(
    table: pd.DataFrame,
    facts: StudyFacts,
    rule: Rule = "knee",
    *,
    max_parameters: int | None = None,
    max_drop: float | None = None,
) -> int:
    """The trial that `rule` picks from the front within the limits; all figures are of the validation split.

    `knee` is where the front bends, with errors as well as parameters on a log scale: halving the errors counts alike
    wherever it happens, where plain accuracy would find the knee among students that are barely better than guessing.
    `accurate` is the most accurate, `smallest` the one with the fewest parameters. `max_drop` is in percentage points
    below the teacher. Raises `Mistake`, with how close the nearest trial comes, where none is within the limits.
    """
    complete = table[table["state"] == "complete"]
    if complete.empty:
        raise Mistake(f"the study {facts.name!r} has no complete trial to pick from yet")
    drops = 100 * (facts.teacher["accuracy"] - complete["accuracy"])
    fits = pd.Series(True, index=complete.index)
    if max_parameters is not None:
        fits &= complete["parameters"] <= max_parameters
    if max_drop is not None:
        if np.isnan(facts.teacher["accuracy"]):
            raise Mistake(
                "the teacher's accuracy is not measured yet, so no drop from it is known; run the study again"
            )
        fits &= drops <= max_drop + 1e-9
    if not fits.any():
        raise Mistake(_nearest(complete, drops, max_parameters, max_drop))
    within = complete[fits]
    # the front of what is within the limits: a study with further objectives may have its best of two elsewhere
    candidates = within.iloc[pareto.front(_plane(within))]
    match rule:
        case "accurate":
            return int(candidates.sort_values(["accuracy", "parameters"], ascending=[False, True]).index[0])
        case "smallest":
            return int(candidates.sort_values(["parameters", "accuracy"], ascending=[True, False]).index[0])
        case "knee":
            return int(candidates.index[pareto.knee(_errors(candidates, facts))])


def notable(table: pd.DataFrame, facts: StudyFacts) -> list[int]:
    """The at most three trials that a search confirms by itself: knee, most accurate, and the smallest at most one
    point below the teacher, each once; none where no trial is complete.
    """
    if not (table["state"] == "complete").any():
        return []
    found = [pick(table, facts, "knee"), pick(table, facts, "accurate")]
    if (facts.teacher["accuracy"] - table["accuracy"] <= 0.01 + 1e-9).any():
        found.append(pick(table, facts, "smallest", max_drop=1.0))
    return list(dict.fromkeys(found))


def _nearest(complete: pd.DataFrame, drops: pd.Series, max_parameters: int | None, max_drop: float | None) -> str:
    wanted = []
    if max_parameters is not None:
        wanted.append(f"at most {max_parameters:,} parameters")
    if max_drop is not None:
        wanted.append(f"at most {max_drop:g} points below the teacher")
    said = f"no trial has {' and '.join(wanted)}"
    if max_drop is None or (max_parameters is not None and (complete["parameters"] > max_parameters).all()):
        nearest = complete["parameters"].idxmin()
    else:
        small = complete if max_parameters is None else complete[complete["parameters"] <= max_parameters]
        nearest = drops[small.index].idxmin()
    position = complete.index.get_loc(nearest)
    parameters, drop = float(complete["parameters"].to_numpy()[position]), drops.to_numpy()[position]
    return (
        f"{said}; the nearest is trial {nearest} with {parameters:,.0f} parameters, {drop:.2f} points below: "
        "raise a limit or search on"
    )


def _plane(table: pd.DataFrame) -> pareto.Points:
    """(accuracy, log10 parameters) with both to be minimized, (N, 2)."""
    return np.column_stack([-table["accuracy"].astype(float), np.log10(table["parameters"].astype(float))])


def _errors(table: pd.DataFrame, facts: StudyFacts) -> pareto.Points:
    """(log10 share of errors, log10 parameters), (N, 2); half an example stands for no error at all."""
    errors = 1 - table["accuracy"].astype(float) + 0.5 / facts.data["validation"]
    return np.column_stack([np.log10(errors), np.log10(table["parameters"].astype(float))])


def _reference(facts: StudyFacts) -> pareto.Points:
    return np.array([-facts.reference["accuracy"], np.log10(facts.reference["parameters"])])


def _points(table: pd.DataFrame, objectives: Sequence[str]) -> pareto.Points:
    return np.column_stack(
        [sign * table[name].astype(float) for sign, name in zip(signs(objectives), objectives, strict=True)]
    )


def _hypervolumes(table: pd.DataFrame, facts: StudyFacts) -> pd.Series:
    """After each trial, in the order in which trials ended; NaN for those that are not complete."""
    complete = table[table["state"] == "complete"].sort_values("ended_ms", kind="stable")
    grown = pareto.hypervolumes(_plane(complete), _reference(facts))
    return pd.Series(grown, index=complete.index, dtype=float).reindex(table.index)
