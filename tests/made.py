"""What tests of reports and charts are made of: facts, trials, material, on round figures."""

from collections.abc import Sequence
from typing import Any

from kdsearch.frame import frame
from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.report import Material

EVIL = "<script>alert(1)</script><a href='https://evil.example/'>\"x\"</a>"


def facts(**changes: Any) -> StudyFacts:
    known: dict[str, Any] = {
        "id": "4f2a",
        "name": "small",
        "card": "How small?\n\nQuestion   Which one?",
        "file": "/home/someone/studies/small.py",
        "smoke": False,
        "objectives": ["accuracy", "parameters"],
        "seed": 7,
        "data": {"name": "toy", "fingerprint": "f", "classes": 2, "train": 1200, "validation": 100, "test": 100},
        "teacher": {"key": "k", "parameters": 100_000, "members": 1, "accuracy": 0.97},
        "reference": {"accuracy": 0.5, "parameters": 100_000},
    }
    return StudyFacts(**{**known, **changes})


def trial(number: int, parameters: int, accuracy: float | None, **changes: Any) -> TrialRecord:
    """A complete trial, or with no accuracy one that is running; `ended_ms` follows the number."""
    described = {"family": "ConvNet", "width": 4, "start": "none", "temperature": 4.0, "alpha": 0.9, "lr": 0.01}
    known: dict[str, Any] = {
        "number": number,
        "state": "running" if accuracy is None else "complete",
        "params": {},
        "recipe": {},
        "described": described | changes.pop("described", {}),
        "fingerprint": str(number),
        "seeds": {},
        "known": {"parameters": parameters, "macs": 10 * parameters, "size_kb": parameters / 250},
        "measured": {} if accuracy is None else {"accuracy": accuracy, "parameters": parameters},
        "ended_ms": None if accuracy is None else 1_000 * number,
    }
    return TrialRecord(**{**known, **changes})


def material(records: Sequence[TrialRecord], told: StudyFacts | None = None, **further: Any) -> Material:
    known = told if told is not None else facts()
    return Material(table=frame(records, known), facts=known, records=records, **further)


def curve(
    accuracies: Sequence[float | None], *, start: int = 0, kind: str = "hints", at_ms: int = 0
) -> list[dict[str, Any]]:
    """A line an epoch of half a second, the first `start` of the stage `kind`, the others of distil; None where the
    stage scores no classes. `at_ms` is when the first epoch began.
    """
    lines = []
    for place, accuracy in enumerate(accuracies):
        line: dict[str, Any] = {
            "stage": kind if place < start else "distil",
            "epoch": place + 1 - (start if place >= start else 0),
            "loss": 1.0,
        }
        if accuracy is not None:
            line["validation_accuracy"] = accuracy
        lines.append(line | {"seconds": 0.4, "evaluation_seconds": 0.1, "at_ms": at_ms + 500 * (place + 1)})
    return lines


def lost(number: int, state: str, reason: str | None) -> TrialRecord:
    return trial(number, 500, None, state=state, reason=reason, ended_ms=1_000 * number)


def some() -> list[TrialRecord]:
    """Trials 0, 2 and 4 are the front: 1 has more parameters and less accuracy than 0; 3 is running."""
    return [
        trial(0, 1_000, 0.8),
        trial(1, 2_000, 0.7),
        trial(2, 10_000, 0.98, described={"start": "hints", "teacher_layer": "block2"}),
        trial(3, 5_000, None),
        trial(4, 100, 0.6, described={"start": "pretrain", "family": "MLP"}),
        lost(5, "failed", "the loss is not finite"),
        lost(6, "failed", "the loss is not finite"),
        lost(7, "screened", "600,000 parameters are above the limit"),
    ]


def hostile() -> tuple[list[TrialRecord], StudyFacts]:
    recipe = {"family": EVIL, "start": EVIL, EVIL: EVIL, "temperature": EVIL}
    records = [
        trial(0, 1_000, 0.8, described=recipe),
        trial(1, 2_000, 0.9, described=recipe),
        lost(2, "failed", EVIL),
        trial(3, 3_000, 0.91, described={"several": [1, EVIL]}),
    ]
    data = {**facts().data, "name": EVIL}
    return records, facts(
        name=EVIL, card=f"{EVIL} \ud800", file=f"/x/{EVIL}.py", data=data, objectives=["accuracy", "parameters"]
    )
