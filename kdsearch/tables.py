"""What commands print: the front, the studies, an export's figures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdsearch.api import Results
from kdsearch.store import StudyFacts


def say(console: Console, text: str) -> None:
    """Print one line as it is: long paths stay whole when they are copied, brackets in names are just that."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def show_front(console: Console, results: Results) -> None:
    """The teacher and the front as a table."""
    facts, front = results.facts, results.front
    say(console, f"\nteacher: {facts.teacher['parameters']:,} parameters, validation accuracy {_accuracy(facts)}")
    if front.empty:
        say(console, "front:   no trial is complete yet")
        return
    say(console, f"front:   {len(front)} of {len(results.records)} trials, hypervolume {results.hypervolume:.3f}")
    students = {record.number: record.recipe["student"] for record in results.records if record.state == "complete"}
    fields = sorted({field for number in front.index for field in students[number] if field != "kind"})
    headings = ("trial", "parameters", "of teacher", "validation", "temperature", "alpha", "start", "family", *fields)
    table = _table(headings, left=("start", "family"))
    for number, row in zip(front.index.tolist(), front.to_dict("records"), strict=True):
        _add_row(
            table,
            str(number),
            f"{row['parameters']:,.0f}",
            f"{row['share']:.2%}",
            f"{row['accuracy']:.2%}",
            f"{row['temperature']:.3g}",
            "" if math.isnan(row.get("alpha", math.nan)) else f"{row['alpha']:.3g}",
            str(row["start"]),
            str(row["family"]),
            *(str(students[number].get(field, "")) for field in fields),
        )
    console.print(table)


def show_studies(console: Console, found: Sequence[Results]) -> None:
    """One line per study."""
    headings = ("study", "complete", "failed", "front", "hypervolume", "data", "teacher")
    table = _table(headings, left=("study", "data"))
    for results in found:
        states = [record.state for record in results.records]
        facts = results.facts
        _add_row(
            table,
            facts.name,
            str(states.count("complete")),
            str(states.count("failed")),
            str(len(results.front)),
            f"{results.hypervolume:.3f}",
            facts.data["name"],
            f"{_accuracy(facts)} with {facts.teacher['parameters']:,}",
        )
    console.print(table)


def show_account(console: Console, account: Mapping[str, Any]) -> None:
    """Where the study's time went, and what was saved of it."""
    if account["busy_share"] is None:
        return
    spent = ", ".join(f"{name} {seconds:,.0f}" for name, seconds in account["seconds"].items() if seconds >= 0.5)
    saved = account["epochs_saved"]
    parts = [f"{saved[by]:,} epochs by {by.replace('_', ' ')}" for by in saved if saved[by]]
    parts.append(f"{account['teacher_passes_saved']:,} passes of the teacher by its signals")
    say(
        console,
        f"workers: busy {account['busy_share']:.1%}, in student steps {account['student_share']:.1%} of their time; "
        f"{account['epochs_trained']:,} epochs trained; seconds of trials: {spent}",
    )
    say(console, f"saved:   {', '.join(parts)}")


def show_figures(console: Console, card: Mapping[str, Any]) -> None:
    """An exported student's figures above its teacher's."""
    student = card["metrics"]
    for who, parameters, figures in (
        ("student", student["parameters"], student),
        ("teacher", card["teacher"]["parameters"], card["teacher"]),
    ):
        say(
            console,
            f"  {who}  {parameters:>10,.0f} parameters  validation {figures['validation_accuracy']:.2%}  "
            f"test {figures['test_accuracy']:.2%}",
        )


def _accuracy(facts: StudyFacts) -> str:
    measured = facts.teacher["accuracy"]
    return "not measured yet" if math.isnan(measured) else f"{measured:.2%}"


def _add_row(table: Table, *cells: str) -> None:
    table.add_row(*(Text(cell) for cell in cells))  # as text: a name in a database is not our markup


def _table(headings: Sequence[str], left: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right")
    return table
