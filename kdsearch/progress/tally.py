"""What is known of a search while it runs, kept up with what happens: no output in here."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np

from kdsearch import pareto
from kdsearch.accounting import shared_epochs, untrained_epochs
from kdsearch.events import (
    AnewBegan,
    AnewEpoch,
    Happening,
    RepeatBegan,
    RepeatEnded,
    RepeatEpoch,
    RepeatsBegan,
    SearchBegan,
    SegmentBegan,
    SegmentEnded,
    TeacherEpoch,
    TeacherMeasured,
    TrialBegan,
    TrialEnded,
    TrialEpoch,
    TrialWaits,
)
from kdsearch.progress.slots import Slots, Work
from kdsearch.records import TrialRecord
from kdsearch.training import Epoch

Clock = Callable[[], float]


class SearchTally:
    """Counts, front, epochs, time left and workers of one search."""

    def __init__(self, began: SearchBegan, now: Clock = time.monotonic) -> None:
        self.facts = began.facts
        self.target = began.target
        self.teacher_accuracy: float = began.facts.teacher["accuracy"]
        self.counts: Counter[str] = Counter(record.state for record in began.records if record.state != "running")
        self.slots = Slots(began.workers)
        self.waiting: set[int] = set()
        self.complete: list[TrialRecord] = []
        self.front: list[TrialRecord] = []
        """Non-dominated in accuracy and parameters, by rising parameters."""
        self.best: TrialRecord | None = None
        self.growth: list[float] = []
        """The hypervolume after each complete trial, in the order in which they ended."""
        self.epochs_trained = 0
        self.epochs_shared = 0
        self._untrained: dict[int, int] = {}
        self._began: dict[int, TrialRecord] = {}
        self._now = now
        self._begun = now()
        self._minutes = began.minutes
        self._ended_here = 0
        for record in sorted(began.records, key=lambda record: (record.ended_ms or 0, record.number)):
            self._weigh(record)

    @property
    def done(self) -> int:
        """Trials that count towards the target and are over."""
        return self.counts["complete"] + self.counts["failed"] + self.counts["pruned"]

    @property
    def hypervolume(self) -> float:
        return self.growth[-1] if self.growth else 0.0

    @property
    def epochs_stopped(self) -> int:
        """Epochs that early stopping saved, as `kdsearch.accounting` counts them."""
        return sum(self._untrained.values())

    @property
    def elapsed(self) -> float:
        return self._now() - self._begun

    def seconds_left(self) -> float | None:
        """From the pace of this run so far; None before its first trial ended."""
        if not self._ended_here:
            return None
        spent = self.elapsed
        left = spent / self._ended_here * max(0, self.target - self.done)
        return left if self._minutes is None else max(0.0, min(left, 60 * self._minutes - spent))

    def hear(self, happening: Happening) -> None:
        match happening:
            case TeacherMeasured(accuracy=accuracy):
                self.teacher_accuracy = accuracy
            case TrialBegan(record=record):
                self._began[record.number] = record
            case SegmentBegan(trial=trial, epoch=epoch, epochs=epochs):
                self.waiting.discard(trial)
                self.slots.begin(trial, self._work(trial, epoch, epochs))
            case TrialEpoch(trial=trial, line=line):
                self.slots.saw(trial, line)
            case SegmentEnded(trial=trial):
                self.slots.end(trial)
            case TrialWaits(trial=trial):
                self.waiting.add(trial)
            case TrialEnded(record=record):
                self.waiting.discard(record.number)
                self._began.pop(record.number, None)
                self.counts[record.state] += 1
                if record.state != "screened":
                    self._ended_here += 1
                self._weigh(record)

    def _work(self, trial: int, epoch: int, epochs: int) -> Work:
        described, known = self._began[trial].described, self._began[trial].known
        return Work(
            title=f"trial {trial}",
            student=f"{described['family']} {known['parameters']:,.0f}",
            epochs=epochs,
            start_epochs=int(described["start_epochs"]),
            epoch=epoch,
        )

    def _weigh(self, record: TrialRecord) -> None:
        self.epochs_trained += record.epochs_trained
        self.epochs_shared += shared_epochs(record)
        if record.continues is not None:
            self._untrained.pop(record.continues, None)
        if record.state == "pruned":
            self._untrained[record.number] = untrained_epochs(record)
        if record.state != "complete":
            return
        self.complete.append(record)
        candidates = [*self.front, record]
        points = np.array([plane(candidate) for candidate in candidates])
        members = pareto.front(points)
        self.front = [candidates[member] for member in members]
        reference = self.facts.reference
        corner = np.array([-reference["accuracy"], np.log10(reference["parameters"])])
        self.growth.append(pareto.hypervolume(points[members], corner))
        if self.best is None or record.measured["accuracy"] > self.best.measured["accuracy"]:
            self.best = record


def plane(record: TrialRecord) -> tuple[float, float]:
    """A complete trial's accuracy and log10 parameters, both to be minimized."""
    return -record.measured["accuracy"], float(np.log10(record.known["parameters"]))


class RepeatsTally:
    """Runs on fresh seeds: how many are done, what each label gave on the test split, time left and workers."""

    def __init__(self, began: RepeatsBegan, now: Clock = time.monotonic) -> None:
        self.wanted = began.wanted
        self.done = began.done
        self.failed = 0
        self.slots = Slots(began.workers)
        self.test: defaultdict[str, list[float]] = defaultdict(list)
        self._before = began.done
        self._now = now
        self._begun = now()

    @property
    def elapsed(self) -> float:
        return self._now() - self._begun

    def seconds_left(self) -> float | None:
        """From the pace of this call so far; None before its first run ended."""
        made = self.done - self._before
        return self.elapsed / made * (self.wanted - self.done) if made else None

    def hear(self, happening: Happening) -> None:
        match happening:
            case RepeatBegan(label=label, seed=seed):
                work = Work(
                    title=f"{label}, seed {seed}",
                    student=f"{happening.family} {happening.parameters:,.0f}",
                    epochs=happening.epochs,
                    start_epochs=happening.start_epochs,
                    epoch=happening.epoch,
                )
                self.slots.begin((label, seed), work)
            case RepeatEpoch(label=label, seed=seed, line=line):
                self.slots.saw((label, seed), line)
            case RepeatEnded(record=run):
                self.slots.end((run.label, run.seed))
                self.done += 1
                if run.state == "complete":
                    self.test[run.label].append(run.measured["test_accuracy"])
                else:
                    self.failed += 1


class AnewTally:
    """One recipe that is trained again: its epochs, its last line of the curve and the time left."""

    def __init__(self, began: AnewBegan, now: Clock = time.monotonic) -> None:
        self.trial = began.trial
        self.epochs = began.epochs
        self.done = began.epoch
        self.line: Epoch = {}
        self._before = began.epoch
        self._now = now
        self._begun = now()

    @property
    def elapsed(self) -> float:
        return self._now() - self._begun

    def seconds_left(self) -> float | None:
        """From the pace of this call so far; None before its first epoch ended."""
        made = self.done - self._before
        return self.elapsed / made * (self.epochs - self.done) if made else None

    def hear(self, happening: Happening) -> None:
        if isinstance(happening, AnewEpoch):
            self.done += 1
            self.line = happening.line


class Picture:
    """All that listeners of this package show: the teacher's training, then the search, then runs on fresh seeds; or
    one recipe that is trained again.
    """

    def __init__(self, now: Clock = time.monotonic) -> None:
        self.name = ""
        """The study's; "" while only its teacher has been heard of."""
        self.teacher: TeacherEpoch | None = None
        self.search: SearchTally | None = None
        self.repeats: RepeatsTally | None = None
        self.anew: AnewTally | None = None
        self._now = now
        self._begun = now()

    @property
    def elapsed(self) -> float:
        return self._now() - self._begun

    def hear(self, happening: Happening) -> None:
        match happening:
            case TeacherEpoch():
                self.teacher = happening
            case SearchBegan(facts=facts):
                self.name, self.search = facts.name, SearchTally(happening, self._now)
            case RepeatsBegan(facts=facts):
                self.name, self.repeats = facts.name, RepeatsTally(happening, self._now)
            case AnewBegan(study=study):
                self.name, self.anew = study, AnewTally(happening, self._now)
        if self.search is not None:
            self.search.hear(happening)
        if self.repeats is not None:
            self.repeats.hear(happening)
        if self.anew is not None:
            self.anew.hear(happening)
