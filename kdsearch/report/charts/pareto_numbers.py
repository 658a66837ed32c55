"""What the chart of accuracy against size shows, as numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kdsearch import pareto
from kdsearch.report.complete import complete_trials
from kdsearch.report.material import Material

SIZES = {"parameters": "parameters", "macs": "macs", "size_kb": "size, kB", "latency_ms": "latency, ms"}
"""What the x axis may be, each with its title."""
TESTED = {"test_accuracy": ("test_low", "test_high"), "alone_test_accuracy": ("alone_low", "alone_high")}
"""Means on the test split, each with the ends of its interval."""
LOST = ("failed", "screened", "running")


@dataclass(frozen=True, kw_only=True)
class ParetoNumbers:
    """`points`: complete trials by number, with `parameters`, `accuracy`, `on_front`, `start` and the other sizes that
    are known. `stopped`: trials that wait or were stopped early, with the last `accuracy` that they have shown, and
    their sizes; `lost`: those without any, with their `state` and sizes. `confirmed`: what fresh seeds gave on the test
    split, by trial: `test_accuracy` with `test_low` and `test_high`, `alone_test_accuracy` with `alone_low` and
    `alone_high`. `fronts`: by size, the `size` and `accuracy` of the complete trials that are non-dominated in these
    two, by rising size, equal ones once; those sizes that a complete trial has. Accuracies are fractions, of the
    validation split where nothing else is said, which has `validation` examples.
    """

    points: pd.DataFrame
    stopped: pd.DataFrame
    lost: pd.DataFrame
    confirmed: pd.DataFrame
    fronts: Mapping[str, pd.DataFrame]
    teacher_parameters: int
    teacher_accuracy: float
    teacher_test: float | None
    validation: int


def pareto_numbers(material: Material) -> ParetoNumbers:
    table, facts = material.table, material.facts
    points = complete_trials(table)
    sizes = _sizes(table, [name for name in SIZES if name in table])
    points = points.join(sizes.drop(columns="parameters"))
    shown = {
        record.number: record.last_accuracy for record in material.records if record.state in ("pruned", "running")
    }
    last = pd.Series(shown, dtype=float).dropna()
    others = table[table["state"].isin(["pruned", "running", "failed", "screened"])]
    others = others[["state"]].join(sizes).dropna(subset=["parameters"])
    stopped = others.join(last.rename("accuracy"), how="inner")
    tested = [column for mean, (low, high) in TESTED.items() if mean in table for column in (mean, low, high)]
    return ParetoNumbers(
        points=points,
        stopped=stopped,
        lost=others[~others.index.isin(stopped.index) & others["state"].isin(list(LOST))],
        confirmed=table.loc[points.index, tested].astype(float).dropna(how="all"),
        fronts={name: found for name in SIZES if name in points and len(found := _front(points, name))},
        teacher_parameters=int(facts.teacher["parameters"]),
        teacher_accuracy=float(facts.teacher["accuracy"]),
        teacher_test=material.teacher_test,
        validation=int(facts.data["validation"]),
    )


def _sizes(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Positive sizes, NaN where one is not known: they stand on a log scale."""
    known = {name: pd.to_numeric(table[name], errors="coerce").astype(float) for name in names}
    return pd.DataFrame({name: sizes.mask(sizes <= 0) for name, sizes in known.items()}, index=table.index)


def _front(points: pd.DataFrame, name: str) -> pd.DataFrame:
    known = points.dropna(subset=[name])
    members = pareto.front(np.column_stack([-known["accuracy"], known[name].astype(float)]))
    found = known.iloc[members][[name, "accuracy"]].drop_duplicates().reset_index(drop=True)
    return found.rename(columns={name: "size"})
