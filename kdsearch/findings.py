"""What confirmations and comparisons found: the ledger's runs to intervals, differences and verdicts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from kdsearch.confirm import ALONE
from kdsearch.evidence import (
    Effect,
    Interval,
    Sample,
    Verdict,
    difference_interval,
    effect,
    mean_interval,
    pooled,
    verdict,
)
from kdsearch.ledger import Arm, Confirmed, Question
from kdsearch.records import StudyFacts
from kdsearch.study import CONFIRM

CONFIRMED_COLUMNS = (
    *("test_accuracy", "test_low", "test_high", "test_seeds", "fresh_validation_accuracy"),
    *("alone_test_accuracy", "alone_low", "alone_high", "gain", "gain_low", "gain_high", "verdict"),
)
"""What `with_confirmation` adds to the frame."""


@dataclass(frozen=True, kw_only=True)
class ArmFinding:
    """One arm. `test` and `validation` are accuracies over its runs, None where none is complete.

    `difference` and `said` are of its pairing with the question's first arm, on the test split: in a confirmation the
    first arm minus this one and the verdict on the first; in a comparison this one minus the first and its effect, with
    intervals that hold together for all its arms. None for the first arm itself. `difference` is over the seeds that
    both have; where a run of either failed what is `said` is "unclear". `seconds` and `epochs` are means over its runs,
    of which `failed` gave nothing, the first of them for that `reason`.
    """

    label: str
    test: Interval | None
    validation: Interval | None
    difference: Interval | None
    said: Verdict | Effect | None
    seconds: float
    epochs: float
    failed: int
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The answer to a question about `trial`; pooled over the trials that it was asked about where that is None and
    `members` is above 1. `on_front`: whether the trial is on the study's present front.
    """

    name: str
    trial: int | None
    members: int
    arms: list[ArmFinding]
    on_front: bool = True

    def arm(self, label: str) -> ArmFinding | None:
        return next((arm for arm in self.arms if arm.label == label), None)


def findings(confirmed: Confirmed, facts: StudyFacts, front: Collection[int] | None = None) -> list[Finding]:
    """One finding for each question that has a run, and one pooled for each kind that was asked of several trials: of
    these only those on the `front` count, where that is given.
    """
    found = []
    for name in dict.fromkeys(question.name for question in confirmed.questions):
        group = [question for question in confirmed.questions if question.name == name]
        for question in group:
            finding = _finding(confirmed, facts, question, front is None or question.trial in (None, *front))
            if any(arm.test or arm.failed for arm in finding.arms):
                found.append(finding)
        members = [question for question in group if front is None or question.trial in front]
        if (whole := _pooled(confirmed, facts, members)) is not None:
            found.append(whole)
    return found


def of_member(found: Sequence[Finding], trial: int) -> Finding | None:
    """The confirmation of one front member."""
    return next((one for one in found if one.name == CONFIRM and one.trial == trial), None)


def findings_frame(found: Sequence[Finding]) -> pd.DataFrame:
    """One row per arm: `question`, `trial` (NaN: no trial's own, or pooled over `members` trials), `arm`, `seeds`,
    `test_accuracy` with `test_low`, `test_high`, `validation_accuracy`, `difference` with its ends over `pairs` seeds,
    `said`, `seconds`, `epochs`, `failed`. Accuracies are fractions.
    """
    rows = []
    for one in found:
        for arm in one.arms:
            row: dict[str, Any] = {"question": one.name, "trial": one.trial, "members": one.members, "arm": arm.label}
            row |= _ends("test", arm.test, "test_accuracy") | _ends("difference", arm.difference, "difference")
            row["seeds"] = arm.test.seeds if arm.test is not None else 0
            row["pairs"] = arm.difference.seeds if arm.difference is not None else None
            row["validation_accuracy"] = arm.validation.mean if arm.validation is not None else None
            rows.append(row | {"said": arm.said, "seconds": arm.seconds, "epochs": arm.epochs, "failed": arm.failed})
    return pd.DataFrame(rows)


def with_confirmation(table: pd.DataFrame, confirmed: Confirmed, facts: StudyFacts) -> pd.DataFrame:
    """The trials' frame with what fresh seeds gave for those that were confirmed: `test_accuracy`, `test_low`,
    `test_high`, `test_seeds`, `fresh_validation_accuracy`, the same student alone (`alone_test_accuracy`, `alone_low`,
    `alone_high`), `gain` (of distillation, with ends) and `verdict`. Without any there are no such columns.
    """
    rows = {}
    for question in confirmed.questions:
        if question.name != CONFIRM or question.trial not in table.index:
            continue
        number = question.trial
        finding = _finding(confirmed, facts, question, on_front=True)
        if (first := finding.arms[0]).test is None:
            continue
        row: dict[str, Any] = _ends("test", first.test, "test_accuracy") | {"test_seeds": first.test.seeds}
        row["fresh_validation_accuracy"] = first.validation.mean if first.validation is not None else None
        if (other := finding.arm(ALONE)) is not None:
            row |= _ends("alone", other.test, "alone_test_accuracy") | _ends("gain", other.difference, "gain")
            row["verdict"] = other.said
        rows[number] = row
    return table.join(pd.DataFrame.from_dict(rows, orient="index")) if rows else table


def _ends(stem: str, interval: Interval | None, mean: str) -> dict[str, Any]:
    if interval is None:
        return {mean: None, f"{stem}_low": None, f"{stem}_high": None}
    return {mean: interval.mean, f"{stem}_low": interval.low, f"{stem}_high": interval.high}


@dataclass(frozen=True)
class _Runs:
    """The complete runs of some arms, pooled by seed where there are several."""

    test: Sample
    validation: Sample
    seconds: float
    epochs: float
    failed: int
    reason: str | None
    keys: tuple[str, ...]

    @classmethod
    def of(cls, confirmed: Confirmed, arms: Sequence[Arm]) -> "_Runs":
        runs = [run for arm in arms for run in confirmed.runs(arm.key)]
        complete = [run for run in runs if run.state == "complete"]
        return cls(
            test=pooled([confirmed.sample(arm.key) for arm in arms]),
            validation=pooled([confirmed.sample(arm.key, "accuracy") for arm in arms]),
            seconds=fmean(run.seconds for run in complete) if complete else 0.0,
            epochs=fmean(len(run.curve) for run in complete) if complete else 0.0,
            failed=len(runs) - len(complete),
            reason=next((run.reason for run in runs if run.state == "failed"), None),
            keys=tuple(arm.key for arm in arms),
        )


def _finding(confirmed: Confirmed, facts: StudyFacts, question: Question, on_front: bool) -> Finding:
    runs = {arm.label: _Runs.of(confirmed, [arm]) for arm in question.arms}
    arms = _answered(question.name, runs, facts)
    return Finding(name=question.name, trial=question.trial, members=1, arms=arms, on_front=on_front)


def _pooled(confirmed: Confirmed, facts: StudyFacts, group: Sequence[Question]) -> Finding | None:
    """The arms that all questions of a group have, each beside the group's first arms. Members one of whose arms has no
    complete run are left out; None for fewer than two.
    """
    by_label = [{arm.label: arm for arm in question.arms} for question in group]
    labels = [label for label in by_label[0] if all(label in arms for arms in by_label)] if by_label else []
    whole = [arms for arms in by_label if all(confirmed.sample(arms[label].key) for label in labels)]
    if len(whole) < 2 or labels[:1] != [group[0].arms[0].label]:  # what the others are compared to must not differ
        return None
    runs = {label: _Runs.of(confirmed, [arms[label] for arms in whole]) for label in labels}
    if not all(found.test for found in runs.values()):
        return None  # no seed that all have
    arms = _answered(group[0].name, runs, facts)
    return Finding(name=group[0].name, trial=None, members=len(whole), arms=arms)


def _difference(name: str, first: _Runs, other: _Runs, among: int, examples: int) -> Interval:
    if first.keys == other.keys:  # one training under two labels: no noise stands between them
        return Interval(mean=0.0, low=0.0, high=0.0, seeds=len(first.test))
    if name == CONFIRM:
        return difference_interval(first.test, other.test, examples)
    return difference_interval(other.test, first.test, examples, among=among)


def _answered(name: str, runs: Mapping[str, _Runs], facts: StudyFacts) -> list[ArmFinding]:
    """Every arm beside the first."""
    first = next(iter(runs.values()))
    arms = []
    for label, found in runs.items():
        difference: Interval | None = None
        said: Verdict | Effect | None = None
        if found is not first and found.test and first.test:
            difference = _difference(name, first, found, len(runs) - 1, facts.data["test"])
            said = verdict(difference) if name == CONFIRM else effect(difference)
            if first.failed or found.failed:
                said = "unclear"  # what diverged is no accident of the seeds that are left
        arms.append(
            ArmFinding(
                label=label,
                test=mean_interval(found.test, facts.data["test"]) if found.test else None,
                validation=mean_interval(found.validation, facts.data["validation"]) if found.validation else None,
                difference=difference,
                said=said,
                seconds=found.seconds,
                epochs=found.epochs,
                failed=found.failed,
                reason=found.reason,
            )
        )
    return arms
