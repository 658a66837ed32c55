"""How progress is put into words: one line for what happened, and text that cannot steer a terminal."""

import math

from kdsearch.events import SearchBegan, TeacherEpoch
from kdsearch.ledger import RepeatRecord
from kdsearch.progress.tally import AnewTally, RepeatsTally, SearchTally
from kdsearch.records import TrialRecord
from kdsearch.training import Epoch


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def opening(began: SearchBegan, done: int) -> str:
    facts, begun = began.facts, len(began.records)
    workers = f"{began.workers} worker{'s' if began.workers > 1 else ''}"
    teacher = f"teacher of {facts.teacher['parameters']:,} parameters"
    if not math.isnan(facts.teacher["accuracy"]):
        teacher += f", validation {facts.teacher['accuracy']:.2%}"
    so_far = f"continuing study {facts.name}: {done} trials so far" if begun else f"study {facts.name}"
    if done >= began.target:
        return f"study {facts.name} already has {done} of {began.target} trials; ask for more with --trials"
    return f"{so_far}, {began.target} wanted; {teacher}; {workers}"


def teacher_epoch(happening: TeacherEpoch) -> str:
    who = f"teacher{f' {happening.member}' if happening.member else ''}"
    return f"{who}: epoch {happening.line['epoch']}/{happening.epochs}, {figures(happening.line)}"


def anew_epoch(tally: AnewTally) -> str:
    left = tally.seconds_left()
    rest = f"; about {clock(left)} left" if left else ""
    return f"trial {tally.trial} again: epoch {tally.done}/{tally.epochs}, {figures(tally.line)}{rest}"


def figures(line: Epoch) -> str:
    """The loss of an epoch, and the accuracy where its line has one."""
    accuracy = f", validation {line['validation_accuracy']:.2%}" if "validation_accuracy" in line else ""
    return f"loss {line['loss']:.4f}{accuracy}"


def standing(tally: SearchTally) -> str:
    """Front, hypervolume, best, time left."""
    parts = [f"front {len(tally.front)}", f"hypervolume {tally.hypervolume:.3f}"]
    if tally.best is not None:
        parts.append(best(tally.best))
    if (left := tally.seconds_left()) is not None and tally.done < tally.target:
        parts.append(f"about {clock(left)} left")
    return ", ".join(parts)


def best(record: TrialRecord) -> str:
    return f"best {record.measured['accuracy']:.2%} with {record.known['parameters']:,.0f}"


def trial_ended(record: TrialRecord, tally: SearchTally) -> str:
    head = f"[{tally.done}/{tally.target}] trial {record.number}"
    if record.state != "complete":
        return f"{head} {record.state}: {record.reason}"
    described = record.described
    # FitNets' own stage has no alpha
    weight = f"alpha {described['alpha']:.2g}" if "alpha" in described else f"loss {described['loss']}"
    return (
        f"{head}: {record.measured['accuracy']:.2%} with {record.known['parameters']:,.0f} parameters "
        f"(start {described['start']}, T {described['temperature']:.3g}, {weight}); "
        f"{standing(tally)}"
    )


def repeats_began(tally: RepeatsTally) -> str:
    before = f", {tally.done} of them made before" if tally.done else ""
    return f"on fresh seeds: {tally.wanted} runs{before}"


def repeat_ended(run: RepeatRecord, tally: RepeatsTally) -> str:
    head = f"[{tally.done}/{tally.wanted}] {run.label}, seed {run.seed}"
    left = tally.seconds_left()
    rest = f"; about {clock(left)} left" if left else ""
    if run.state != "complete":
        return f"{head}, failed: {run.reason}{rest}"
    accuracies = f"validation {run.measured['accuracy']:.2%}, test {run.measured['test_accuracy']:.2%}"
    return f"{head}: {accuracies}{rest}"
