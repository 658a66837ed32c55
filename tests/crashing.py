"""Drivers that are killed at a chosen moment: a study is run in a forked process, which SIGKILL ends there.

A moment is a commit to the database or a rename of a file, before it or after it: all that a search leaves behind
changes there alone, so that a driver killed anywhere is one killed at one of them.
"""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.orm import Session

from kdsearch import api
from kdsearch.events import Note, TrialEpoch


def killed_at(moment: int, path: Path, log: Path, **options) -> bool:
    """Run a study until its `moment`-th moment, or to its end where it has fewer; gives whether it was killed.

    `log` gets a line of JSON for every epoch that was trained and for every note.
    """
    process = multiprocessing.get_context("fork").Process(target=_run, args=(moment, path, log, options))
    process.start()
    process.join(300)
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode != 0


def logged(log: Path) -> list[dict]:
    """What the runs of a study have logged; a line that was cut off by a kill is left out."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]


def listening(log: Path) -> Callable[[object], None]:
    def listen(happening: object) -> None:
        match happening:
            case TrialEpoch(trial=trial, line=line):
                said = {"trial": trial, "stage": line["stage"], "epoch": line["epoch"]}
            case Note(text=text):
                said = {"note": text}
            case _:
                return
        with log.open("a") as file:
            file.write(json.dumps(said) + "\n")

    return listen


def _run(moment: int, path: Path, log: Path, options: dict) -> None:
    left = moment

    def die_perhaps(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    plain = Path.replace

    def replace(self: Path, target: Path) -> Path:
        die_perhaps()
        moved = plain(self, target)
        die_perhaps()
        return moved

    Path.replace = replace
    event.listen(Session, "before_commit", die_perhaps)
    event.listen(Session, "after_commit", die_perhaps)
    api.run(path, listeners=[listening(log)], **options)
