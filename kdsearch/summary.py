"""A study's results in a few words and one table: what they show of themselves in a notebook."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdsearch.choice import pick
from kdsearch.markup import paragraph, table

if TYPE_CHECKING:
    from kdsearch.results import Results

_NEVER_CONFIRMED = (
    "Nothing is confirmed on fresh seeds yet: a search's best figures are the best of many noisy runs, and too good."
)
_INTERVALS = (
    "In brackets 95 % intervals over fresh seeds, on this very test split; the verdict is of distilled on alone."
)


def sentence(results: "Results") -> str:
    """How much was searched, what the front holds, and its knee beside the teacher, on the validation split."""
    facts, front = results.facts, results.front
    complete = sum(record.state == "complete" for record in results.records)
    searched = f"{facts.name}: {complete} of {len(results.records)} trials complete"
    if front.empty:
        return f"{searched}."
    knee = _row(results, pick(results.frame, facts, "knee"))
    teacher = facts.teacher["accuracy"]
    beside = f" ({teacher:.2%} for the teacher)" if not math.isnan(teacher) else ""
    return (
        f"{searched}, {len(front)} on the front, hypervolume {results.hypervolume:.3f}. "
        f"At the knee {knee['parameters']:,.0f} parameters, {knee['share']:.2%} of the teacher's, have "
        f"{knee['accuracy']:.2%} validation accuracy{beside}."
    )


def html(results: "Results") -> str:
    """The sentence, the front by rising parameters, and what fresh seeds gave of it."""
    if results.front.empty:
        return paragraph(sentence(results))
    rows = [_row(results, trial) for trial in results.front.index.tolist()]
    confirmed = any(_known(row, "test_accuracy") for row in rows)
    headings = ["trial", "student", "parameters", "of teacher", "start", "T", "alpha", "validation"]
    cells = [_cells(row) for row in rows]
    if confirmed:
        headings += ["test, fresh seeds", "alone", "distilled is"]
        cells = [[*first, *_confirmed(row)] for first, row in zip(cells, rows, strict=True)]
    return (
        paragraph(sentence(results)) + table(headings, cells) + paragraph(_INTERVALS if confirmed else _NEVER_CONFIRMED)
    )


def _row(results: "Results", trial: int) -> dict[str, Any]:
    row = results.frame.loc[trial].to_dict()
    return {**{str(name): value for name, value in row.items()}, "trial": trial}


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        str(row["trial"]),
        str(row["family"]),
        f"{row['parameters']:,.0f}",
        f"{row['share']:.2%}",
        str(row["start"]),
        f"{row['temperature']:.3g}",
        f"{row['alpha']:.2g}" if _known(row, "alpha") else "",  # FitNets' own stage has none
        f"{row['accuracy']:.2%}",
    ]


def _confirmed(row: Mapping[str, Any]) -> list[str]:
    return [
        _interval(row, "test_accuracy", "test"),
        _interval(row, "alone_test_accuracy", "alone"),
        str(row["verdict"]) if _known(row, "alone_test_accuracy") else "",
    ]


def _interval(row: Mapping[str, Any], mean: str, stem: str) -> str:
    if not _known(row, mean):
        return ""
    return f"{row[mean]:.2%} ({100 * row[f'{stem}_low']:.2f} to {100 * row[f'{stem}_high']:.2f})"


def _known(row: Mapping[str, Any], name: str) -> bool:
    return name in row and not math.isnan(row[name])
