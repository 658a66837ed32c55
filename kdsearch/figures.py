"""What commands print of students that were taken away: why this one, its files, what it predicts, several compared."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Console

from kdsearch.choice import Choice, Member
from kdsearch.comparing import differences, file_rows, teacher_row
from kdsearch.export import FORMATS
from kdsearch.findings import Finding, of_member
from kdsearch.progress import say
from kdsearch.saved import files_by_format
from kdsearch.stored import confirmed_of
from kdsearch.tables import show_table

_SAID = {
    "better": "distilled is better",
    "no better": "distilled is no better",
    "unclear": "unclear whether distilled is better",
}


def choice_lines(choice: Choice, findings: Sequence[Finding]) -> list[str]:
    """What was chosen and why, the runner-up and how it differs, and what fresh seeds gave for the recipe of each."""

    def told(heading: str, member: Member, why: str) -> list[str]:
        speed = "" if member.latency_ms is None else f", {member.latency_ms:.3g} ms"
        figures = f"{member.parameters:,} parameters, validation {member.accuracy:.2%}{speed}"
        confirmed = confirmed_of(of_member(findings, member.trial))
        return [
            f"{heading:<10} trial {member.trial} ({figures}): {why}",
            f"{'':<10} {_confirmed(confirmed) if confirmed else 'not confirmed on fresh seeds'}",
        ]

    lines = told("chosen:", choice.chosen, choice.why)
    if choice.runner_up is None:
        return [*lines, "runner-up: there is no other"]
    return lines + told("runner-up:", choice.runner_up, choice.beside)


def show_figures(console: Console, card: Mapping[str, Any]) -> None:
    """A line for each of an exported student's files and one for its teacher, and what fresh seeds gave."""
    files = [{**row, "fresh_test_accuracy": None, "verdict": None} for row in file_rows(card)]  # the same for all
    _show_rows(console, [*files, teacher_row(card)])
    if card["confirmed"]:
        say(console, f"its recipe {_confirmed(card['confirmed'])}")


def proof_lines(card: Mapping[str, Any]) -> list[str]:
    """What the fresh processes found: the files that are the student itself, and how the others differ from it."""
    proofs, files = card["proof"], files_by_format(card)
    examples = card["data"]["validation"] + card["data"]["test"]
    exact = [name for name in proofs if FORMATS[name].exact]
    lines = []
    if exact:
        off = max(proofs[name]["largest_difference"] for name in exact)
        searched = card["metrics"]["validation_accuracy"] is not None
        also = "; the validation accuracy is the search's to the example" if searched else ""
        lines.append(
            f"proven in fresh processes on {examples:,} examples: {', '.join(files[name] for name in exact)} "
            f"{'gives' if len(exact) == 1 else 'give'} what the student gives (off by {off:.1e} at most){also}"
        )
    own = card["metrics"]["test_accuracy"]
    for name in (name for name in proofs if not FORMATS[name].exact):
        found = proofs[name]
        lines.append(
            f"{files[name]}: on test {found['test_accuracy']:.2%}, the student itself {own:.2%}; "
            f"the same class for {found['agreement']:.2%} of {examples:,} examples"
        )
    return lines


def show_comparison(console: Console, table: pd.DataFrame) -> None:
    """A line for each file and teacher, and why they cannot be held against each other where they cannot."""
    names = _short(table["student"].unique())
    rows = [{str(column): value for column, value in row.items()} for row in table.to_dict("records")]
    several = sum(not row["student"] for row in rows) > 1  # teachers, which are then told apart by their studies
    _show_rows(
        console,
        [{**row, "student": names[row["student"]] or (f"({row['study']})" if several else "")} for row in rows],
    )
    for difference in differences(table):
        say(console, f"note: {difference}")


def _show_rows(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as of `kdsearch.comparing`; columns that none of them has are left out."""
    columns: list[tuple[str, list[str]]] = [
        ("student", [row.get("student") or "" for row in rows]),
        ("file", [row["file"].removeprefix("student.") for row in rows]),
        ("parameters", [f"{row['parameters']:,}" for row in rows]),
        ("kB", [f"{row['size_kb']:,.1f}" for row in rows]),
        ("test", [_percent(row, "test_accuracy") for row in rows]),
        ("validation", [_percent(row, "validation_accuracy") for row in rows]),
        ("test, fresh seeds", [_fresh(row) for row in rows]),
        ("distilled is", [row["verdict"] if _known(row, "verdict") else "" for row in rows]),
        ("ms at 1", [f"{row['latency_ms']:.3g}" for row in rows]),
        ("ms at 64", [f"{row['latency_64_ms']:.3g}" for row in rows]),
        ("share", [f"{row['share']:.2%}" for row in rows]),
        ("same classes", [_percent(row, "agreement") for row in rows]),
        ("off by", [f"{row['largest_difference']:.1e}" if _known(row, "largest_difference") else "" for row in rows]),
        ("macs", [f"{row['macs']:,}" for row in rows]),
    ]
    shown = [(heading, cells) for heading, cells in columns if any(cells)]
    cells = list(zip(*(cells for _, cells in shown), strict=True))
    headings = show_table(console, [heading for heading, _ in shown], cells, left=("student", "file", "distilled is"))
    if any(heading.startswith("ms") for heading in headings):
        say(console, "ms: median of a batch of 1 and of 64, one thread, on the machine of the export")


def _short(folders: Iterable[str]) -> dict[str, str]:
    """What tells folders apart: their paths below the deepest folder that holds all of them."""
    known = [folder for folder in folders if folder]
    common = os.path.commonpath([os.path.dirname(os.path.abspath(folder)) for folder in known])
    return {"": "", **{folder: os.path.relpath(os.path.abspath(folder), common) for folder in known}}


def _confirmed(confirmed: Mapping[str, Any]) -> str:
    alone = confirmed["alone_test_accuracy"]
    beside = f"; the same student alone {_spread(alone)}; {_SAID[confirmed['verdict']]}" if alone else ""
    own = confirmed["test_accuracy"]
    return f"on {own['seeds']} fresh seeds: test {_spread(own)}{beside}"


def _fresh(row: Mapping[str, Any]) -> str:
    if not _known(row, "fresh_test_accuracy"):
        return ""
    return _spread({"mean": row["fresh_test_accuracy"], "low": row["fresh_low"], "high": row["fresh_high"]})


def _spread(accuracy: Mapping[str, float]) -> str:
    return f"{accuracy['mean']:.2%} ({100 * accuracy['low']:.2f} to {100 * accuracy['high']:.2f})"


def _percent(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]:.2%}" if _known(row, name) else ""


def _known(row: Mapping[str, Any], name: str) -> bool:
    value = row.get(name)
    return value is not None and value == value  # NaN is not
