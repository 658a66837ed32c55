"""Exported students side by side, from what their cards say: `compare_students`."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from kdsearch.mistakes import Mistake
from kdsearch.saved import CARD, check_file, files_by_format, read_card

_Kind = TypeVar("_Kind")
_TEACHER = "teacher"


def compare_students(folders: Sequence[str | os.PathLike[str]]) -> pd.DataFrame:
    """One row for each exported file of each student, then one for each distinct teacher.

    Columns: `student` (the folder as given; empty for teachers), `file` ("teacher" for those), `study`, `trial`,
    `parameters`, `share` of the teacher's, `size_kb` (1,000 bytes on disk; of a teacher its weights and buffers),
    `macs`, `latency_ms` and `latency_64_ms` (medians of batches of 1 and 64, one thread), `validation_accuracy` (NaN
    where that split was trained on), `test_accuracy`, `agreement` with the trained student's own classes,
    `largest_difference` from its outputs; from fresh seeds of its recipe `fresh_test_accuracy`, `fresh_low`,
    `fresh_high`, `fresh_seeds` and `verdict` against the student alone; `data` and `machine` that the figures are of.
    Accuracies are fractions. Raises `Mistake` where a folder holds no export, or files of it are gone or altered.
    """
    if not folders:
        raise Mistake("there is nothing to compare; name one or more folders that kdsearch export wrote")
    students: list[dict[str, Any]] = []
    teachers: dict[tuple[str, str], dict[str, Any]] = {}
    for folder in dict.fromkeys(map(str, folders)):
        card = read_card(folder)
        try:
            rows, teacher = file_rows(card), teacher_row(card)
            key = (str(card["teacher"]["key"]), teacher["data"])
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise Mistake(f"{Path(folder) / CARD} lacks figures to compare ({error!r}); export it again") from None
        for row in rows:
            check_file(folder, card, row["file"])
            students.append({**row, "student": folder})
        teachers.setdefault(key, teacher)
    table = pd.DataFrame([*students, *teachers.values()]).fillna({"student": ""})
    return table.astype({"trial": "Int64", "fresh_seeds": "Int64"})


def differences(table: pd.DataFrame) -> list[str]:
    """Why figures of these rows cannot be held against each other, a line each."""
    told = []
    for column, what in (("data", "accuracies are of different data"), ("machine", "latencies are of other machines")):
        groups = table[table["file"] != _TEACHER].groupby(column)["student"].unique()
        if len(groups) > 1:
            parts = "; ".join(f"{', '.join(students)}: {value}" for value, students in groups.items())
            told.append(f"{what} and not comparable ({parts})")
    return told


def file_rows(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures of a student's files, in the columns of `compare_students`. Raises `KeyError` and its like for a card
    that lacks them.
    """
    known, fresh, files = card["metrics"], card["confirmed"], files_by_format(card)
    seeds = fresh.get("test_accuracy") or {}
    return [
        {
            "student": None,
            "file": files[name],
            **_origin(card),
            "trial": _count(card["trial"]),
            "parameters": _count(known["parameters"]),
            "share": float(known["share_of_teacher"]),
            "size_kb": card["files"][files[name]]["bytes"] / 1000,
            "macs": _count(known["macs"]),
            **_latencies(card["proof"][name]["latency_ms"]),
            "validation_accuracy": (
                math.nan if known["validation_accuracy"] is None else float(card["proof"][name]["validation_accuracy"])
            ),
            "test_accuracy": float(card["proof"][name]["test_accuracy"]),
            "agreement": float(card["proof"][name]["agreement"]),
            "largest_difference": float(card["proof"][name]["largest_difference"]),
            "fresh_test_accuracy": _given(seeds.get("mean"), float),
            "fresh_low": _given(seeds.get("low"), float),
            "fresh_high": _given(seeds.get("high"), float),
            "fresh_seeds": _given(seeds.get("seeds"), _count),
            "verdict": _given(fresh.get("verdict"), str),
        }
        for name in sorted(files, key=list(card["proof"]).index)  # as they were asked for
    ]


def teacher_row(card: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a student's teacher, in the same columns."""
    teacher = card["teacher"]
    return {
        "file": _TEACHER,
        **_origin(card),
        "parameters": _count(teacher["parameters"]),
        "share": 1.0,
        "size_kb": float(teacher["size_kb"]),
        "macs": _count(teacher["macs"]),
        **_latencies(teacher["latency_ms"]),
        "validation_accuracy": float(teacher["validation_accuracy"]),
        "test_accuracy": float(teacher["test_accuracy"]),
    }


def _origin(card: Mapping[str, Any]) -> dict[str, str]:
    machine = card["machine"]
    return {
        "study": str(card["study"]),
        "data": f"{card['data']['name']} {card['data']['fingerprint'][:12]}",
        "machine": f"{machine['processor']}, {machine['system']}",
    }


def _count(value: Any) -> int:
    """A whole number that a table can hold."""
    found = int(value)
    if not 0 <= found < 2**63:
        raise ValueError(f"{found} is no count")
    return found


def _given(value: Any, kind: Callable[[Any], _Kind]) -> _Kind | None:
    return None if value is None else kind(value)


def _latencies(measured: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {"latency_ms": float(measured["1"]["median"]), "latency_64_ms": float(measured["64"]["median"])}
