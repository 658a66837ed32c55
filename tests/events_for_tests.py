"""Events of a search that never ran, for tests of what listens."""

import math

from kdsearch.events import SearchBegan
from kdsearch.ledger import RepeatRecord
from kdsearch.records import StudyFacts, TrialRecord


def facts(name: str = "made", accuracy: float = 0.99) -> StudyFacts:
    return StudyFacts(
        id="0" * 32,
        name=name,
        card="",
        file=None,
        smoke=False,
        objectives=["accuracy", "parameters"],
        seed=0,
        data={"name": "digits", "fingerprint": "f", "classes": 10, "shape": [1, 8, 8], "train": 100}
        | {"validation": 100, "test": 100},
        teacher={"key": "k", "parameters": 100_000, "members": 1, "accuracy": accuracy},
        reference={"accuracy": 0.1, "parameters": 100_000},
    )


def line(epoch: int, stage: str = "distil", accuracy: float = 0.5) -> dict:
    return {
        **{"stage": stage, "epoch": epoch, "loss": 1.5, "validation_accuracy": accuracy, "lr": 0.01},
        **{"seconds": 0.1, "evaluation_seconds": 0.0, "at_ms": 1},
    }


def trial(number: int, accuracy: float | None = None, parameters: float = 1000.0, **changed) -> TrialRecord:
    """Complete where it has an accuracy, else running; 5 epochs, of which a start has 2 unless it is "none"."""
    known = {"parameters": parameters}
    start = changed.pop("start", "none")
    return TrialRecord(
        **{
            "number": number,
            "state": "running" if accuracy is None else "complete",
            "params": {"width": 4, "start": start},
            "recipe": {},
            "described": {"family": "ConvNet", "width": 4, "start": start, "start_epochs": 0 if start == "none" else 2}
            | {"temperature": 4.0, "alpha": 0.9, "epochs": 5},
            "fingerprint": f"{number:016}",
            "seeds": {"start": 0, "distil": 0},
            "known": known,
            "measured": {} if accuracy is None else {**known, "accuracy": accuracy},
            "curve": [] if accuracy is None else [line(epoch) for epoch in range(1, 6)],
            "ended_ms": None if accuracy is None else 1_000 + number,
            **changed,
        }
    )


def began(*records: TrialRecord, target: int = 10, workers: int = 2, **changed) -> SearchBegan:
    minutes = changed.pop("minutes", None)
    return SearchBegan(facts(**changed), list(records), target, workers, minutes)


def repeat(label: str, seed: int, test: float | None) -> RepeatRecord:
    """A run on a fresh seed, failed where it has no accuracy on the test split."""
    return RepeatRecord(
        arm="a" * 16,
        seed=seed,
        label=label,
        state="failed" if test is None else "complete",
        fingerprint="f",
        recipe={},
        described={},
        seeds={},
        known={"parameters": 1000.0},
        measured={} if test is None else {"accuracy": 0.9, "test_accuracy": test, "macro_f1": math.nan},
        reason="no more patience" if test is None else None,
    )
