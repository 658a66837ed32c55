"""A study and its trials as values: what is known of them, wherever it was read from."""

from dataclasses import dataclass, field
from typing import Any, Literal

FORMAT = 1

State = Literal["complete", "pruned", "screened", "failed", "running"]

Spent = dict[str, float]
"""Seconds of a trial by what they went into: start, distil, evaluation, signals, waiting, checkpointing."""


@dataclass(frozen=True, kw_only=True)
class Inherited:
    """The first `epochs` lines of a trial's curve were trained by `trial`, whose start this one shares or which,
    pruned, it continues.
    """

    kind: Literal["start", "trial"]
    trial: int
    epochs: int


@dataclass(frozen=True, kw_only=True)
class Session:
    """One run of a study: how long its workers were there, how long each was busy with segments, all in seconds.
    `workers` is their mean number: on a cluster they come and go.

    `student_seconds` of `busy_seconds` went into training and evaluating students; `epochs` were trained.
    """

    began_ms: int
    seconds: float
    workers: float
    busy_seconds: float
    student_seconds: float
    epochs: int


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial as the database has it.

    `described` is the recipe flat; `fingerprint` the recipe's, `proposed` that of the recipe as the space gave it,
    before its hint layers were named; `known` the figures that need no training; `measured` those of the trained
    student, empty until it is complete; `spent` the seconds by what they went into; `inherited` what of the curve
    another trial trained; `waiting` whether it stands at a rung; times are milliseconds since the epoch.
    """

    number: int
    state: State
    params: dict[str, Any]
    recipe: dict[str, Any] = field(default_factory=dict)
    described: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    seeds: dict[str, int] = field(default_factory=dict)
    known: dict[str, float] = field(default_factory=dict)
    proposed: str = ""
    measured: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)
    spent: Spent = field(default_factory=dict)
    inherited: Inherited | None = None
    waiting: bool = False
    reason: str | None = None
    began_ms: int = 0
    ended_ms: int | None = None

    @property
    def epochs_trained(self) -> int:
        """Epochs of the stored curve that this trial trained itself; 0 while it runs, as it is not stored yet."""
        if not self.curve:
            return 0
        return len(self.curve) - (self.inherited.epochs if self.inherited is not None else 0)

    @property
    def seconds(self) -> float | None:
        """Of its own training and evaluation between epochs; None before the trial is over."""
        own = self.curve[self.inherited.epochs if self.inherited is not None else 0 :]
        return sum(line["seconds"] + line["evaluation_seconds"] for line in own) if self.curve else None

    @property
    def last_accuracy(self) -> float | None:
        """The last validation accuracy of the curve; None where it has none yet."""
        accuracies = (line["validation_accuracy"] for line in reversed(self.curve) if "validation_accuracy" in line)
        return next(accuracies, None)

    @property
    def continues(self) -> int | None:
        """The pruned trial that this one goes on with."""
        return self.inherited.trial if self.inherited is not None and self.inherited.kind == "trial" else None


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """What was true of the study when its trials were made, kept with them.

    `id` is unique to this study, also among studies of one name.

    `data` has name, fingerprint, classes and the splits' sizes; `teacher` key, parameters, members and validation
    accuracy; `reference` the accuracy and parameters from which the hypervolume is measured.
    """

    id: str
    name: str
    card: str
    file: str | None
    smoke: bool
    objectives: list[str]
    seed: int
    data: dict[str, Any]
    teacher: dict[str, Any]
    reference: dict[str, float]
    format: int = FORMAT

    def differences(self, other: "StudyFacts") -> list[str]:
        """In what `other` differs so that its trials could not stand beside ours."""
        pairs = {
            "objectives": (self.objectives, other.objectives),
            "seed": (self.seed, other.seed),
            "data": (self.data["fingerprint"], other.data["fingerprint"]),
            "teacher": (self.teacher["key"], other.teacher["key"]),
        }
        return [f"the {what} (was {mine}, is {theirs})" for what, (mine, theirs) in pairs.items() if mine != theirs]
