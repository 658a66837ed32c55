"""The report's first sentence and the figures beside it: what the search is worth, and how sure that is."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kdsearch.choice import pick
from kdsearch.frame import front, hypervolume
from kdsearch.report.columns import has, percent
from kdsearch.report.material import Material
from kdsearch.report.tables import counts

_SAID = {
    "better": "so distilled is better",
    "no better": "so distilled is no better",
    "unclear": "though whether distilled is better is unclear",
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One key figure: `value` in large, with what it is and where it comes from."""

    value: str
    name: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """`sentence` is the verdict, `basis` what it rests on, `figures` the key figures."""

    sentence: str
    basis: str
    figures: list[Figure]


def headline(material: Material) -> Headline | None:
    """By the test split where fresh seeds were confirmed there, else by validation, and saying so; None where no trial
    is complete.
    """
    table = material.table
    members = front(table)
    if members.empty:
        return None
    known = members[members["test_accuracy"].notna()] if "test_accuracy" in members else members[:0]
    if known.empty or material.teacher_test is None:
        trial = _speaker(material, members)
        return _on_validation(material, _row(table, trial), trial)
    trial = _speaker(material, known)
    return _on_test(material, _row(table, trial), trial, material.teacher_test)


def _speaker(material: Material, members: pd.DataFrame) -> int:
    """Which of `members`, by rising parameters, speaks for the study: the smallest within a point of the teacher on
    validation, else the knee, else the largest. The test split chooses nothing.
    """
    near = members[material.facts.teacher["accuracy"] - members["accuracy"] <= 0.01 + 1e-9]
    if not near.empty:
        return int(near.index[0])
    knee = pick(material.table, material.facts, "knee")
    return knee if knee in members.index else int(members.index[-1])


def _row(table: pd.DataFrame, trial: int) -> dict[str, Any]:
    return {str(name): value for name, value in table.loc[trial].items()}


def _on_test(material: Material, row: dict[str, Any], trial: int, teacher: float) -> Headline:
    both = [row["test_accuracy"], row["alone_test_accuracy"] if has(row.get("alone_test_accuracy")) else teacher]
    # two that differ shall not read alike
    digits = 2 if both[0] != both[1] and len({_points(teacher, one, 1) for one in both}) == 1 else 1
    distance = _distance(teacher, row["test_accuracy"], digits)
    sentence = f"A student with {_share(row['share'])} of the teacher's parameters is {distance}"
    seeds = int(row["test_seeds"])
    basis = (
        f"Trial {trial}{_role(material, trial)}, trained again on {seeds} fresh seed{'s' if seeds != 1 else ''}, "
        f"on the test split: {_accuracies(row, 'test_accuracy', 'test')}"
    )
    figures = [
        _size(material, row),
        Figure(value=_signed(row["test_accuracy"] - teacher), name="points from the teacher, on test"),
    ]
    if has(row.get("alone_test_accuracy")):
        alone = _distance(teacher, row["alone_test_accuracy"], digits)
        alone = alone.replace(" points", "").replace("with the teacher", "with it").removesuffix(" the teacher")
        sentence += f"; alone it would be {alone}, {_SAID[str(row['verdict'])]}"
        basis += f", alone {_accuracies(row, 'alone_test_accuracy', 'alone')}"
        gain = f"{row['verdict']}: {_signed(row['gain_low'])} to {_signed(row['gain_high'])}"
        figures.append(Figure(value=_signed(row["gain"]), name="points by distillation, on test", note=gain))
    basis += f"; the teacher {100 * teacher:.2f} %. Intervals are 95 %."
    return Headline(sentence=f"{sentence}.", basis=basis, figures=[*figures, *_search(material)])


def _on_validation(material: Material, row: dict[str, Any], trial: int) -> Headline:
    teacher = float(material.facts.teacher["accuracy"])
    share = _share(row["share"])
    figures = [_size(material, row)]
    if math.isnan(teacher):
        accuracy = f"{100 * row['accuracy']:.1f} %"
        sentence = f"A student with {share} of the teacher's parameters has {accuracy} validation accuracy"
        figures.append(Figure(value=accuracy, name="validation accuracy", note="the teacher is not measured yet"))
    else:
        distance = _distance(teacher, row["accuracy"])
        sentence = f"A student with {share} of the teacher's parameters is {distance} on validation"
        figures.append(Figure(value=_signed(row["accuracy"] - teacher), name="points from the teacher, on validation"))
    basis = (
        f"Trial {trial}{_role(material, trial)}, from one seed on the validation split that chose it; nothing is "
        "confirmed on fresh seeds and the test split yet, nor what the student would be alone."
    )
    return Headline(sentence=f"{sentence}.", basis=basis, figures=[*figures, *_search(material)])


def _size(material: Material, row: dict[str, Any]) -> Figure:
    whole = f"{row['parameters']:,.0f} of {material.facts.teacher['parameters']:,}"
    return Figure(value=_share(row["share"]), name="of the teacher's parameters", note=whole)


def _search(material: Material) -> list[Figure]:
    found = counts(material.table)
    others = ", ".join(f"{count} {state}" for state, count in found.items() if state != "complete")
    members = len(front(material.table))
    return [
        Figure(value=f"{found['complete']:,}", name=f"complete trials, {members} on the front", note=others),
        Figure(value=f"{hypervolume(material.table, material.facts):.3f}", name="hypervolume", note="larger is better"),
    ]


def _role(material: Material, trial: int) -> str:
    return ", the front's knee" if trial == pick(material.table, material.facts, "knee") else ""


def _share(share: float) -> str:
    """In percent with about two digits: 0.067 %, 1.1 %, 98 %."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _points(teacher: float, accuracy: float, digits: int) -> float:
    return round(100 * (teacher - accuracy), digits) + 0.0


def _distance(teacher: float, accuracy: float, digits: int = 1) -> str:
    points = _points(teacher, accuracy, digits)
    if points == 0:
        return "level with the teacher"
    return f"{abs(points):.{digits}f} points {'below' if points > 0 else 'above'} the teacher"


def _signed(share: float) -> str:
    """A difference of accuracies in points, with its sign."""
    return f"{round(100 * share, 2) + 0.0:+.2f}".replace("-", "−")


def _accuracies(row: dict[str, Any], mean: str, stem: str) -> str:
    low, high = 100 * row[f"{stem}_low"], 100 * row[f"{stem}_high"]
    return f"{percent(row[mean])} % ({low:.2f} to {high:.2f})"
