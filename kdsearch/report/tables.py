"""The report's tables and sentences: the frame to text. Escaping is the template's part."""

import math
from collections import Counter
from dataclasses import dataclass

import pandas as pd

from kdsearch.frame import RULES, front, hypervolume, pick
from kdsearch.report.columns import below, has, percent, shown, student_columns
from kdsearch.store import StudyFacts
from kdsearch.study import OBJECTIVES

STATES = ("complete", "pruned", "screened", "failed", "running")


@dataclass(frozen=True, kw_only=True)
class Column:
    title: str
    cells: list[str]
    number: bool = True


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why trials gave no student: each pair of state and reason once, with the number of trials."""

    state: str
    reason: str
    count: int


def counts(table: pd.DataFrame) -> dict[str, int]:
    """How many trials are in each state; states that none is in are left out, `complete` excepted."""
    found = table["state"].value_counts()
    return {state: int(found.get(state, 0)) for state in STATES if state == "complete" or found.get(state, 0)}


def front_columns(table: pd.DataFrame, facts: StudyFacts) -> list[Column]:
    """The front by rising parameters, a column at a time; empty where no trial is complete."""
    members = front(table)
    if members.empty:
        return []
    picks = {rule: pick(table, facts, rule) for rule in RULES}
    picked = [", ".join(rule for rule, trial in picks.items() if trial == member) for member in members.index]
    columns = [
        Column(title="trial", cells=[str(trial) for trial in members.index]),
        Column(title="parameters", cells=_shown(members["parameters"])),
        Column(title="validation accuracy, %", cells=[f"{100 * accuracy:.2f}" for accuracy in members["accuracy"]]),
        Column(title="points below teacher", cells=[below(facts.teacher["accuracy"], a) for a in members["accuracy"]]),
        Column(title="% of teacher's", cells=[percent(share) for share in members["share"]]),
        Column(title="picked as", cells=picked, number=False),
    ]
    further = [name for name in facts.objectives if name not in ("accuracy", "parameters")]
    students = student_columns(members)
    recipe = ("start", "loss", "temperature", "alpha") if _varied_loss(members) else ("start", "temperature", "alpha")
    for name in [*further, *(c for c in recipe if c in members), *students]:
        columns.append(Column(title=name, cells=_shown(members[name]), number=_numeric(members[name])))
    return columns


def reasons(table: pd.DataFrame, at_most: int = 50) -> tuple[list[Reason], int]:
    """Why trials were screened, failed or were pruned, the most frequent first, and how many reasons were left out."""
    lost = table[table["state"].isin(("failed", "screened", "pruned"))]
    told = lost["reason"].map(lambda reason: "no reason was kept" if pd.isna(reason) else str(reason))
    found = Counter(zip(lost["state"].tolist(), told.tolist(), strict=True))
    listed = [Reason(state=state, reason=reason, count=count) for (state, reason), count in found.items()]
    listed.sort(key=lambda reason: (-reason.count, reason.state, reason.reason))
    return listed[:at_most], max(0, len(listed) - at_most)


def summary(table: pd.DataFrame, facts: StudyFacts) -> str:
    """What the search found, in one sentence, or why there is nothing to find yet."""
    found = counts(table)
    complete, others = found["complete"], {state: count for state, count in found.items() if state != "complete"}
    if not complete:
        rest = ", ".join(f"{count} {state}" for state, count in others.items())
        return f"No trial is complete{f' ({rest})' if rest else ' yet'}: there is no front to show."
    trial = pick(table, facts, "knee")
    knee = table.loc[trial].to_dict()
    points = round(100 * (facts.teacher["accuracy"] - knee["accuracy"]), 2) + 0.0
    compared = f"{abs(points):.2f} points {'above' if points < 0 else 'below'} the teacher"
    if math.isnan(points):
        compared = "the teacher is not measured yet"
    told = (
        f"{int(knee['parameters']):,} parameters ({percent(knee['share'])} % of the teacher's) and "
        f"{100 * knee['accuracy']:.2f} % validation accuracy, {compared}"
    )
    if complete == 1:
        return f"Only one trial is complete, so it is the whole front: trial {trial} has {told}."
    return f"Of {complete} complete trials {len(front(table))} are on the front; its knee, trial {trial}, has {told}."


def caution(table: pd.DataFrame, facts: StudyFacts) -> str:
    """What these figures are not."""
    size, complete = facts.data["validation"], counts(table)["complete"]
    best = f"the best of {complete} trials is an optimistic figure" if complete > 1 else "a repetition may differ"
    return (
        f"These are validation accuracies of one seed each, so {best}; one of the {size:,} validation examples is "
        f"{100 / size:.2g} points. Confirmation on fresh seeds and the test split is not part of this version."
    )


def volume_words(table: pd.DataFrame, facts: StudyFacts) -> str:
    """The hypervolume, and from where it is measured."""
    reference = facts.reference
    return (
        f"{hypervolume(table, facts):.4f}; larger is better. It is the area that the front covers from the reference: "
        f"accuracy above {reference['accuracy']:.4g} times log10 of parameters below {reference['parameters']:,.0f}"
    )


def rule_words(facts: StudyFacts) -> str:
    """What puts a trial on this study's front."""
    known = [f"{name} ({OBJECTIVES[name].direction}d)" if name in OBJECTIVES else name for name in facts.objectives]
    return f"no other trial is at least as good in {' and '.join(known)} and better in one"


def _varied_loss(members: pd.DataFrame) -> bool:
    """Whether a member learned by another loss than plain distillation; studies of old have no such column."""
    return "loss" in members and bool((members["loss"].dropna() != "kd").any())


def _shown(column: pd.Series) -> list[str]:
    return [shown(value) if has(value) else "" for value in column]


def _numeric(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))
