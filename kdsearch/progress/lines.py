"""One plain line per event: what a log file keeps, what stands above the live panel, and what `quiet` leaves of it."""

import time

from rich.console import Console

from kdsearch.events import (
    AnewEpoch,
    Happening,
    Note,
    RepeatEnded,
    RepeatsBegan,
    SearchBegan,
    SearchEnded,
    TeacherEpoch,
    TeacherMeasured,
    TrialEnded,
    TrialWaits,
)
from kdsearch.markup import printable
from kdsearch.progress import words
from kdsearch.progress.tally import Picture

_EPOCHS_SECONDS = 5.0


def line(happening: Happening, picture: Picture) -> str | None:
    """What happened, in one line; None for what is not worth one. `picture` has heard of it already."""
    match happening:
        case TeacherEpoch():
            return words.teacher_epoch(happening)
        case TeacherMeasured(accuracy=accuracy):
            return f"the teacher's validation accuracy is {accuracy:.2%}"
        case SearchBegan() if picture.search is not None:
            return words.opening(happening, picture.search.done)
        case TrialWaits(trial=trial, epoch=epoch, epochs=epochs):
            return f"trial {trial} waits after {epoch} of {epochs} epochs"
        case TrialEnded(record=record) if picture.search is not None:
            return words.trial_ended(record, picture.search)
        case RepeatsBegan() if picture.repeats is not None:
            return words.repeats_began(picture.repeats)
        case RepeatEnded(record=run) if picture.repeats is not None:
            return words.repeat_ended(run, picture.repeats)
        case AnewEpoch() if picture.anew is not None:
            return words.anew_epoch(picture.anew)
        case Note(text=text):
            return text
        case SearchEnded(stopped=stopped) if stopped is not None:
            return f"ended before its budget: {stopped}"
    return None


def on_the_way(happening: Happening, picture: Picture) -> bool:
    """Whether it is an epoch, and not the last, of what is trained in this process: of these some are enough."""
    match happening:
        case TeacherEpoch(line=line, epochs=epochs):
            return bool(line["epoch"] < epochs)
        case AnewEpoch() if picture.anew is not None:
            return picture.anew.done < picture.anew.epochs
    return False


def say(console: Console, text: str) -> None:
    """Print one line as it is: long paths stay whole when they are copied, brackets in names are just that."""
    console.print(printable(text), soft_wrap=True, markup=False, highlight=False, emoji=False)


class Lines:
    """A listener that prints one line per event, of epochs in this process one in a few seconds and the last."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._picture = Picture()
        self._epoch_told = -_EPOCHS_SECONDS

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        say(self._console, text)

    def __call__(self, happening: Happening) -> None:
        self._picture.hear(happening)
        if on_the_way(happening, self._picture):
            if time.monotonic() - self._epoch_told < _EPOCHS_SECONDS:
                return
            self._epoch_told = time.monotonic()
        if (told := line(happening, self._picture)) is not None:
            self.say(told)


class Quiet:
    """A listener that tells only of what went wrong; `console` should be standard error's."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._picture = Picture()

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        say(self._console, text)

    def __call__(self, happening: Happening) -> None:
        self._picture.hear(happening)
        told = line(happening, self._picture)
        if told is not None and went_wrong(happening):
            self.say(told)


def went_wrong(happening: Happening) -> bool:
    match happening:
        case Note(warning=warning):
            return warning
        case TrialEnded(record=record):
            return record.state == "failed"
        case RepeatEnded(record=run):
            return run.state == "failed"
        case SearchEnded(stopped=stopped):
            return stopped is not None
    return False
