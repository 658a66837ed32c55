"""Which columns of the frame say what, and how a value is shown."""

import math
from typing import Any

import pandas as pd

from kdsearch.findings import CONFIRMED_COLUMNS
from kdsearch.recipe import HOW
from kdsearch.study import OBJECTIVES

_NOT_RECIPE = {
    *("state", "seconds", "reason", "began_ms", "ended_ms", "share", "on_front", "hypervolume"),
    *OBJECTIVES,
    *CONFIRMED_COLUMNS,
}


def recipe_columns(table: pd.DataFrame) -> list[str]:
    """The columns that came from the recipe, in the frame's order."""
    return [str(column) for column in table.columns if column not in _NOT_RECIPE]


def student_columns(table: pd.DataFrame) -> list[str]:
    """The columns that describe the student's architecture and that at least one row has."""
    return [column for column in recipe_columns(table) if column not in HOW and table[column].notna().any()]


def recipe_of(row: pd.Series, columns: list[str]) -> dict[str, str]:
    """The recipe's parts that this trial has, as they are shown."""
    return {column: shown(row[column]) for column in columns if has(row[column])}


def has(value: Any) -> bool:
    """Whether a trial has this part at all: the frame fills the gaps between different recipes with NaN."""
    return not (pd.api.types.is_scalar(value) and pd.isna(value))


def shown(value: Any) -> str:
    """A value for people: numbers with four significant digits, whole ones whole (a column with gaps holds floats)."""
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, float) and not plain.is_integer():
        return f"{plain:.4g}"
    if isinstance(plain, (int, float)) and not isinstance(plain, bool):
        return f"{int(plain):,}"
    text = str(plain)
    return text if len(text) <= 80 else f"{text[:79]}…"


def below(teacher: float, accuracy: float) -> str:
    """How many percentage points `accuracy` is below the teacher's; negative where it is above; empty
    where the teacher is not measured yet.
    """
    return "" if math.isnan(teacher) else f"{round(100 * (teacher - accuracy), 2) + 0.0:.2f}"


def percent(share: float) -> str:
    """A fraction in percent with two decimals, or two digits where that would say nothing."""
    return f"{100 * share:.2f}" if share >= 1e-3 else f"{100 * share:.2g}"
