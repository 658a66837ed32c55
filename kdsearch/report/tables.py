"""The report's tables and sentences: the frame to text. Escaping is the template's part."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from kdsearch.choice import RULES, pick
from kdsearch.confirm import ALONE
from kdsearch.evidence import Interval
from kdsearch.findings import ArmFinding, Finding
from kdsearch.frame import comparable, front, hypervolume
from kdsearch.importance import Importance
from kdsearch.records import StudyFacts
from kdsearch.report.columns import below, has, percent, shown, student_columns
from kdsearch.study import CONFIRM, OBJECTIVES

STATES = ("complete", "pruned", "screened", "failed", "running")


@dataclass(frozen=True, kw_only=True)
class Column:
    """`key` is the frame's column that it sorts and filters by; empty where its text does."""

    title: str
    cells: list[str]
    number: bool = True
    key: str = ""


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
        Column(title="trial", key="trial", cells=[str(trial) for trial in members.index]),
        Column(title="parameters", key="parameters", cells=_shown(members["parameters"])),
        Column(title="validation accuracy, %", key="accuracy", cells=[f"{100 * a:.2f}" for a in members["accuracy"]]),
        Column(title="points below teacher", cells=[below(facts.teacher["accuracy"], a) for a in members["accuracy"]]),
        Column(title="% of teacher's", key="share", cells=[percent(share) for share in members["share"]]),
    ]
    if "test_accuracy" in members:
        columns[2:2] = _confirmed_columns(members)
    columns.append(Column(title="picked as", cells=picked, number=False))
    further = [name for name in facts.objectives if name not in ("accuracy", "parameters")]
    students = student_columns(members)
    recipe = ("start", "loss", "temperature", "alpha") if _varied_loss(members) else ("start", "temperature", "alpha")
    for name in [*further, *(c for c in recipe if c in members), *students]:
        columns.append(Column(title=name, key=name, cells=_shown(members[name]), number=_numeric(members[name])))
    return columns


def _confirmed_columns(members: pd.DataFrame) -> list[Column]:
    """What fresh seeds gave, empty for members that are not confirmed."""

    def accuracies(mean: str, stem: str) -> list[str]:
        rows = zip(members[mean], members[f"{stem}_low"], members[f"{stem}_high"], strict=True)
        return [f"{100 * m:.2f} ({100 * low:.2f} to {100 * high:.2f})" if has(m) else "" for m, low, high in rows]

    tests = accuracies("test_accuracy", "test")
    told = [Column(title="test accuracy, %, fresh seeds", key="test_accuracy", cells=tests)]
    if "alone_test_accuracy" in members:
        alone = accuracies("alone_test_accuracy", "alone")
        told.append(Column(title="the same student alone", key="alone_test_accuracy", cells=alone))
        verdicts = [str(verdict) if has(verdict) else "" for verdict in members["verdict"]]
        told.append(Column(title="distilled is", key="verdict", cells=verdicts, number=False))
    return told


@dataclass(frozen=True, kw_only=True)
class FindingTable:
    """`pooled`: over several members of the front."""

    title: str
    columns: list[Column]
    pooled: bool


def finding_table(finding: Finding, table: pd.DataFrame) -> FindingTable:
    """The arms of a confirmation or comparison, each beside the first, over its fresh seeds."""
    arms, first = finding.arms, finding.arms[0].label
    confirmation = finding.name == CONFIRM
    if finding.members > 1:
        title = f"{'Confirmation' if confirmation else finding.name}, pooled over {finding.members} front members"
    elif finding.trial is not None:
        size = table["parameters"].to_dict()[finding.trial]
        named = "Trial" if confirmation else f"{finding.name} in trial"
        gone = "" if finding.on_front else ", no longer on the front"
        title = f"{named} {finding.trial}, {size:,.0f} parameters{gone}"
    else:
        title = finding.name
    beside = f"{first} minus this, points" if confirmation else f"this minus {first}, points"
    return FindingTable(
        title=title,
        pooled=finding.members > 1,
        columns=[
            Column(title="recipe", cells=[arm.label for arm in arms], number=False),
            Column(title="test accuracy, %", cells=[_interval(arm.test) for arm in arms]),
            Column(title=beside, cells=[_interval(arm.difference, signed=True) for arm in arms]),
            Column(title="verdict" if confirmation else "effect", cells=[arm.said or "" for arm in arms], number=False),
            Column(title="seeds", cells=[str(arm.test.seeds if arm.test else 0) for arm in arms]),
            Column(title="failed", cells=[_failed(arm) for arm in arms], number=False),
            Column(title="seconds a run", cells=[f"{arm.seconds:,.1f}" for arm in arms]),
            Column(title="epochs", cells=[f"{arm.epochs:g}" for arm in arms]),
        ],
    )


def importance_columns(mattered: Sequence[Importance]) -> list[Column]:
    """Empty where there were too few trials to tell."""
    if not mattered:
        return []
    return [
        Column(title="parameter", cells=[one.parameter for one in mattered], number=False),
        Column(title="share of variance, %", cells=[f"{100 * one.share:.0f}" for one in mattered]),
        Column(title="trials", cells=[str(one.trials) for one in mattered]),
        Column(title="foretold by all, %", cells=[f"{100 * one.explained:.0f}" for one in mattered]),
    ]


def _failed(arm: ArmFinding) -> str:
    return f"{arm.failed}: {arm.reason}" if arm.failed else ""


def _interval(found: Interval | None, *, signed: bool = False) -> str:
    if found is None:
        return ""
    sign = "+" if signed else ""
    return f"{100 * found.mean:{sign}.2f} ({100 * found.low:{sign}.2f} to {100 * found.high:{sign}.2f})"


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
    said = (
        f"These are validation accuracies of one seed each, so {best}; one of the {size:,} validation examples is "
        f"{100 / size:.2g} points."
    )
    if lacking := complete - len(comparable(table, facts)):
        said += f" {lacking} of the {complete} lack one of {', '.join(facts.objectives)} and so stand on no front."
    if "test_accuracy" not in table:
        return f"{said} Nothing is confirmed on fresh seeds and the test split yet: kdsearch confirm does."
    confirmed = table.dropna(subset=["test_accuracy"])
    over = 100 * (confirmed["accuracy"] - confirmed["test_accuracy"])
    return (
        f"{said} Of the {len(confirmed)} confirmed trials it overstated the mean test accuracy over fresh seeds by "
        f"{over.mean():+.2f} points on average ({over.min():+.2f} to {over.max():+.2f})."
    )


def pooled_words(found: Sequence[Finding]) -> str | None:
    """Whether distillation helps, over all confirmed members of the front at once, in a sentence."""
    for finding in found:
        control = finding.arm(ALONE) if finding.name == CONFIRM and finding.members > 1 else None
        if control is not None and control.difference is not None:
            verdict = {"better": "distilled is better", "no better": "distilled is no better"}.get(
                str(control.said), "whether distilled is better is unclear"
            )
            return (
                f"Over {finding.members} members of the front, distilled minus the same students alone: "
                f"{_interval(control.difference, signed=True)} points on test; {verdict}."
            )
    return None


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
