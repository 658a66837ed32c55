"""What commands print: the front, the studies, what fresh seeds found."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdsearch.confirm import ALONE
from kdsearch.evidence import Interval
from kdsearch.findings import Finding
from kdsearch.markup import printable
from kdsearch.progress import say
from kdsearch.records import StudyFacts
from kdsearch.repetition import Repetition
from kdsearch.results import Results
from kdsearch.study import CONFIRM

_FEWEST = 3
"""Columns of a table that every terminal is asked to show."""


def show_front(console: Console, results: Results) -> None:
    """The teacher and the front as a table."""
    facts, front = results.facts, results.front
    console.print()
    say(console, f"teacher: {facts.teacher['parameters']:,} parameters, validation accuracy {_accuracy(facts)}")
    if front.empty:
        say(console, "front:   no trial is complete yet")
        return
    say(console, f"front:   {len(front)} of {len(results.records)} trials, hypervolume {results.hypervolume:.3f}")
    students = {record.number: record.recipe["student"] for record in results.records if record.state == "complete"}
    fields = sorted({field for number in front.index for field in students[number] if field != "kind"})
    headings = ("trial", "parameters", "validation", "of teacher", "start", "temperature", "alpha", "family", *fields)
    rows = [
        (
            str(number),
            f"{row['parameters']:,.0f}",
            f"{row['accuracy']:.2%}",
            f"{row['share']:.2%}",
            str(row["start"]),
            f"{row['temperature']:.3g}",
            "" if math.isnan(row.get("alpha", math.nan)) else f"{row['alpha']:.3g}",
            str(row["family"]),
            *(str(students[number].get(field, "")) for field in fields),
        )
        for number, row in zip(front.index.tolist(), front.to_dict("records"), strict=True)
    ]
    show_table(console, headings, rows, left=("start", "family"))


def show_table(
    console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str] = ()
) -> Sequence[str]:
    """As many columns, from the first, as the console has room for: whole figures of fewer columns say more than parts
    of all; gives their headings. The columns of `left` begin at the left.
    """
    table = _filled(headings, rows, left)
    unlimited = console.options.update(width=10_000)
    while len(table.columns) > _FEWEST and console.measure(table, options=unlimited).maximum > console.width:
        table = _filled(headings[: len(table.columns) - 1], rows, left)
    console.print(table)
    return headings[: len(table.columns)]


def _filled(headings: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str]) -> Table:
    """As many cells of each row as there are headings."""
    table = _table(headings, left)
    for row in rows:
        _add_row(table, *row[: len(headings)])
    return table


def show_findings(console: Console, results: Results) -> None:
    """What fresh seeds gave: every confirmed member beside its controls, and every comparison."""
    facts, found = results.facts, results.findings
    for finding in found:
        console.print()
        say(console, f"{headline(finding, results)}")
        first = finding.arms[0].label
        beside = f"{first} minus this" if finding.name == CONFIRM else f"this minus {first}"
        headings = ("", "test accuracy", beside, "", "seeds", "seconds", "epochs")
        table = _table(headings, left=("",))
        for arm in finding.arms:
            _add_row(
                table,
                arm.label,
                f"{arm.test.mean:.2%} ({100 * arm.test.low:.2f} to {100 * arm.test.high:.2f})" if arm.test else "",
                _points(arm.difference) if arm.difference else "",
                arm.said or "",
                f"{arm.test.seeds if arm.test else 0}{f' ({arm.failed} failed)' if arm.failed else ''}",
                f"{arm.seconds:,.1f}",
                f"{arm.epochs:g}",
            )
        console.print(table)
        for arm in finding.arms:
            if arm.failed:
                say(console, f"{arm.label}: {arm.failed} of its runs failed: {arm.reason}")
    told = results.confirmed.teacher_test_accuracy
    if found and told is not None:
        console.print()
        say(console, f"teacher: test accuracy {told:.2%} (validation {_accuracy(facts)})")
        say(console, "intervals: 95 %, of the seeds on this very test split; those of a comparison hold together")


def _points(difference: Interval) -> str:
    return f"{100 * difference.mean:+.2f} ({100 * difference.low:+.2f} to {100 * difference.high:+.2f}) points"


def headline(finding: Finding, results: Results) -> str:
    """What a finding is about, in one line."""
    if finding.name != CONFIRM:
        of = f"in the recipe of trial {finding.trial}" if finding.trial is not None else "by the study's own recipes"
        of = f"pooled over {finding.members} members" if finding.members > 1 else of
        return f"comparison of {finding.name}, {of}"
    if finding.members > 1:
        return f"confirmed, pooled over {finding.members} members: {_said(finding)}"
    record = next(record for record in results.records if record.number == finding.trial)
    found = f"validation {record.measured['accuracy']:.2%} when it was found"
    if (test := finding.arms[0].test) is not None:
        over = 100 * (record.measured["accuracy"] - test.mean)
        found += f", {abs(over):.2f} points {'above' if over >= 0 else 'below'} its mean on test over fresh seeds"
    gone = "" if finding.on_front else ", no longer on the front"
    size = f"{record.known['parameters']:,.0f} parameters"
    return f"confirmed: trial {finding.trial}{gone}, {size}, {found}; {_said(finding)}"


def _said(finding: Finding) -> str:
    """The verdict on distillation in words."""
    control = finding.arm(ALONE)
    match control.said if control is not None else None:
        case "better":
            return "distilled is better than alone"
        case "no better":
            return "distilled is no better than alone"
        case _:
            return "unclear whether distilled is better than alone"


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


def show_repetition(console: Console, found: Repetition) -> None:
    """Whether a repeated training gave the same weights, else how far from them it is and what is not as it was."""
    what = f"trained trial {found.trial} of {found.study} again"
    if found.same:
        say(console, f"{what}: the same weights, to the bit")
        return
    apart = "" if found.apart is None else f", {found.apart:.2g} apart at most"
    say(console, f"{what}: other weights than were exported{apart}")
    if found.accuracy is not None and found.recorded is not None:
        say(console, f"  validation accuracy {found.accuracy:.2%}, then {found.recorded:.2%}")
    for name, then, now in found.changed:
        say(console, f"  {name} {now}, then {then}")
    if not found.changed:
        say(console, "  the versions are the same: another processor, or number of its threads, gives other bits")


def _accuracy(facts: StudyFacts) -> str:
    measured = facts.teacher["accuracy"]
    return "not measured yet" if math.isnan(measured) else f"{measured:.2%}"


def _add_row(table: Table, *cells: str) -> None:
    table.add_row(*(Text(printable(cell)) for cell in cells))  # as text: a name in a database is not our markup


def _table(headings: Sequence[str], left: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right")
    return table
