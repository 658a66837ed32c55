"""A search's progress in the terminal: a live panel, or one plain line per event where the output is no terminal."""

import math
import time
from collections import Counter

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdsearch import pareto
from kdsearch.events import (
    Happening,
    Note,
    RepeatEnded,
    RepeatEpoch,
    RepeatsBegan,
    SearchBegan,
    SearchEnded,
    TeacherEpoch,
    TrialBegan,
    TrialEnded,
    TrialEpoch,
    TrialWaits,
)
from kdsearch.ledger import RepeatRecord
from kdsearch.store import StudyFacts, TrialRecord


class Tally:
    """Counts, front and time left of a search, kept up with what happens."""

    def __init__(self, began: SearchBegan) -> None:
        self.facts: StudyFacts = began.facts
        self.target = began.target
        self.counts: Counter[str] = Counter(record.state for record in began.records if record.state != "running")
        self.front = np.empty((0, 2))
        self.best: TrialRecord | None = None
        self._begun = time.monotonic()
        self._minutes = began.minutes
        self._ended_here = 0
        for record in began.records:
            self._weigh(record)

    @property
    def done(self) -> int:
        """Trials that count towards the target and are over."""
        return self.counts["complete"] + self.counts["failed"] + self.counts["pruned"]

    @property
    def hypervolume(self) -> float:
        reference = self.facts.reference
        return pareto.hypervolume(self.front, np.array([-reference["accuracy"], np.log10(reference["parameters"])]))

    def ended(self, record: TrialRecord) -> None:
        self.counts[record.state] += 1
        if record.state != "screened":
            self._ended_here += 1
        self._weigh(record)

    def seconds_left(self) -> float | None:
        """From the pace of this run so far; None before its first trial ended."""
        if not self._ended_here:
            return None
        spent = time.monotonic() - self._begun
        left = spent / self._ended_here * max(0, self.target - self.done)
        return left if self._minutes is None else max(0.0, min(left, 60 * self._minutes - spent))

    def line(self) -> str:
        """One line: front, hypervolume, best, time left."""
        parts = [f"front {len(self.front)}", f"hypervolume {self.hypervolume:.3f}"]
        if self.best is not None:
            parts.append(f"best {self.best.measured['accuracy']:.2%} with {self.best.known['parameters']:,.0f}")
        left = self.seconds_left()
        if left is not None and self.done < self.target:
            parts.append(f"about {clock(left)} left")
        return ", ".join(parts)

    def _weigh(self, record: TrialRecord) -> None:
        if record.state != "complete":
            return
        point = [-record.measured["accuracy"], np.log10(record.known["parameters"])]
        points = np.vstack([self.front, point])
        self.front = points[pareto.front(points)]
        if self.best is None or record.measured["accuracy"] > self.best.measured["accuracy"]:
            self.best = record


class Terminal:
    """A listener that shows what happens. Use as a context manager, so that the live panel is closed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tally: Tally | None = None
        self._running: dict[int, str] = {}
        self._waiting: set[int] = set()
        self._teacher_told = 0.0
        self._repeating: dict[str, str] = {}
        self._to_repeat = self._repeated = self._repeated_before = 0
        self._repeats_begun = 0.0
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Terminal":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        # soft_wrap: a long path stays whole when it is copied; markup off: brackets in names are just that
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)

    def __call__(self, happening: Happening) -> None:
        match happening:
            case TeacherEpoch():
                self._teacher(happening)
            case SearchBegan():
                self._tally = Tally(happening)
                self.say(_opening(happening, self._tally.done))
            case TrialBegan(record=record):
                self._running[record.number] = "waits for its first epoch"
            case TrialEpoch(trial=trial, line=line):
                self._running[trial] = _standing(line)
                self._waiting.discard(trial)
            case TrialWaits(trial=trial, epoch=epoch, epochs=epochs):
                self._running.pop(trial, None)
                self._waiting.add(trial)
                if self._live is None:
                    self.say(f"trial {trial} waits after {epoch} of {epochs} epochs")
            case TrialEnded(record=record):
                self._waiting.discard(record.number)
                self._running.pop(record.number, None)
                if self._tally is not None:
                    self._tally.ended(record)
                    self.say(_ended(record, self._tally))
            case RepeatsBegan():
                self._repeats(happening)
            case RepeatEpoch(label=label, seed=seed, line=line):
                self._repeating[f"{label}, seed {seed}"] = _standing(line)
            case RepeatEnded(record=run):
                self._repeating.pop(f"{run.label}, seed {run.seed}", None)
                self._repeated += 1
                self.say(f"[{self._repeated}/{self._to_repeat}] {_repeated(run)}{self._repeats_left()}")
            case Note(text=text):
                self.say(text)
            case SearchEnded(stopped=stopped) if stopped is not None:
                self.say(f"ended before its budget: {stopped}")
        if self._live is not None and self._to_repeat:
            self._live.update(self._repeats_panel())
        elif self._live is not None and self._tally is not None:
            self._live.update(self._panel(self._tally))

    def _teacher(self, happening: TeacherEpoch) -> None:
        line, last = happening.line, happening.line["epoch"] == happening.epochs
        text = (
            f"teacher{f' {happening.member}' if happening.member else ''}: epoch {line['epoch']}/{happening.epochs}, "
            f"loss {line['loss']:.4f}, validation {line['validation_accuracy']:.2%}"
        )
        if self._live is not None:
            self._live.update(Text(text))
            if last:
                self.say(text)
        elif last or time.monotonic() - self._teacher_told > 5:
            self._teacher_told = time.monotonic()
            self.say(text)

    def _repeats(self, began: RepeatsBegan) -> None:
        self._to_repeat, self._repeated, self._repeated_before = began.wanted, began.done, began.done
        self._repeats_begun = time.monotonic()
        before = f", {began.done} of them made before" if began.done else ""
        self.say(f"on fresh seeds: {began.wanted} runs{before}")

    def _repeats_left(self) -> str:
        made, left = self._repeated - self._repeated_before, self._to_repeat - self._repeated
        if not left or not made:
            return ""
        return f"; about {clock((time.monotonic() - self._repeats_begun) / made * left)} left"

    def _repeats_panel(self) -> Group:
        bar = Table.grid(padding=(0, 1))
        done = f"{self._repeated}/{self._to_repeat} on fresh seeds"
        bar.add_row(ProgressBar(total=self._to_repeat, completed=self._repeated, width=40), done)
        rows = Table.grid(padding=(0, 2))
        for label, standing in sorted(self._repeating.items()):
            rows.add_row(Text(label), standing)
        return Group(bar, rows)

    def _panel(self, tally: Tally) -> Group:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=tally.target, completed=tally.done, width=40), f"{tally.done}/{tally.target}")
        rows = Table.grid(padding=(0, 2))
        for number, standing in sorted(self._running.items()):
            rows.add_row(f"trial {number}", standing)
        failed = f", {tally.counts['failed']} failed" if tally.counts["failed"] else ""
        waiting = f", {len(self._waiting)} wait at a rung" if self._waiting else ""
        return Group(bar, Text(tally.line() + failed + waiting), rows)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _opening(began: SearchBegan, done: int) -> str:
    facts, begun = began.facts, len(began.records)
    workers = f"{began.workers} worker{'s' if began.workers > 1 else ''}"
    teacher = f"teacher of {facts.teacher['parameters']:,} parameters"
    if not math.isnan(facts.teacher["accuracy"]):
        teacher += f", validation {facts.teacher['accuracy']:.2%}"
    so_far = f"continuing study {facts.name}: {done} trials so far" if begun else f"study {facts.name}"
    if done >= began.target:
        return f"study {facts.name} already has {done} of {began.target} trials; ask for more with --trials"
    return f"{so_far}, {began.target} wanted; {teacher}; {workers}"


def _standing(line: dict[str, float]) -> str:
    accuracy = f", validation {line['validation_accuracy']:.2%}" if "validation_accuracy" in line else ""
    return f"{line['stage']} epoch {line['epoch']}, loss {line['loss']:.4f}{accuracy}"


def _repeated(run: RepeatRecord) -> str:
    if run.state != "complete":
        return f"{run.label}, seed {run.seed}, failed: {run.reason}"
    return (
        f"{run.label}, seed {run.seed}: validation {run.measured['accuracy']:.2%}, "
        f"test {run.measured['test_accuracy']:.2%}"
    )


def _ended(record: TrialRecord, tally: Tally) -> str:
    head = f"[{tally.done}/{tally.target}] trial {record.number}"
    if record.state != "complete":
        return f"{head} {record.state}: {record.reason}"
    described = record.described
    # FitNets' own stage has no alpha
    weight = f"alpha {described['alpha']:.2g}" if "alpha" in described else f"loss {described['loss']}"
    return (
        f"{head}: {record.measured['accuracy']:.2%} with {record.known['parameters']:,.0f} parameters "
        f"(start {described['start']}, T {described['temperature']:.3g}, {weight}); "
        f"{tally.line()}"
    )
