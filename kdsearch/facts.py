"""The facts of a study as an attribute in Optuna's database: written with their sums, doubted when they are read."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kdsearch.legible import check_text
from kdsearch.plain import from_json, is_number
from kdsearch.records import StudyFacts
from kdsearch.study import OBJECTIVES
from kdsearch.sums import beside, change, held, sum_of

FACTS = "kdsearch"
"""The attribute; a study without it is not kdsearch's."""
_SPLITS = ("train", "validation", "test")


def noted(before: StudyFacts | None, after: StudyFacts) -> dict[str, Any]:
    """The attributes to write, in this order, where the facts were `before`; None for a new study."""
    return change(FACTS, _plain(before), _plain(after), _lasting)


def kept(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What is there of the facts, of whatever version. Raises `ValueError` where it is not what was written.

    The version before completes facts that lack the teacher's accuracy, and leaves the sum, which is then without it.
    """
    found, sums = attributes[FACTS], attributes.get(beside(FACTS))
    if sums and sums[-1] == sum_of(_lasting(_unmeasured(found))):
        return dict(found)
    return dict(held(attributes, FACTS, part=_lasting))


def stated(content: dict[str, Any], name: str) -> StudyFacts:
    """The facts of the study `name`. Raises `ValueError` where they are of another form, or those of another study."""
    facts = from_json(StudyFacts, content)
    check_text(content)
    if facts.name != name:
        raise ValueError(f"its facts are those of {facts.name!r}")
    wanted: dict[str, tuple[dict[str, Any], dict[str, type]]] = {
        "data": (facts.data, {"name": str, "fingerprint": str, "classes": int, **dict.fromkeys(_SPLITS, int)}),
        "teacher": (facts.teacher, {"key": str, "parameters": int, "members": int, "accuracy": float}),
        "reference": (facts.reference, {"accuracy": float, "parameters": float}),
    }
    for part, (found, kinds) in wanted.items():
        for key, kind in kinds.items():
            value = found.get(key)
            if not (is_number(value) if kind is float else isinstance(value, kind) and not isinstance(value, bool)):
                raise ValueError(f"its facts lack the {key} of {part}")
    if not facts.objectives or not set(facts.objectives) <= set(OBJECTIVES):
        raise ValueError(f"its objectives are {facts.objectives}")
    return facts


def _plain(facts: StudyFacts | None) -> dict[str, Any] | None:
    return dataclasses.asdict(facts) if facts is not None else None


def _unmeasured(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "teacher": {**content["teacher"], "accuracy": float("nan")}}


def _lasting(content: dict[str, Any] | None) -> dict[str, Any] | None:
    """What has a sum: all but where the study file is, which may be said anew."""
    return {name: value for name, value in content.items() if name != "file"} if content is not None else None
