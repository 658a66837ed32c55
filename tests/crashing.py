"""Drivers that are killed or stopped at a chosen moment: a study is run in a forked process, which a signal hits there.

A moment is a commit to the database or a rename of a file, before it or after it: all that a search leaves behind
changes there alone, so that a driver killed anywhere is one killed at one of them.
"""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.orm import Session

from kdsearch import api
from kdsearch.events import Note, TrialEpoch
from kdsearch.mistakes import Mistake


def killed_at(moment: int, path: Path, log: Path, **options) -> bool:
    """Run a study until its `moment`-th moment, or to its end where it has fewer; gives whether it was killed.

    `log` gets a line of JSON for every epoch that was trained and for every note.
    """
    process = _forked(_run_and_die, moment, path, log, options)
    process.join(300)
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode != 0


@contextmanager
def stopped_after(epochs: int, path: Path, log: Path, **options) -> Iterator[Callable[[], None]]:
    """A run that stands still after so many epochs, as on a laptop that is shut; gives what lets it go on and end.

    `log` gets the message of the `Mistake` that ends it too.
    """
    process = _forked(_run_and_stop, epochs, path, log, options)
    deadline = time.monotonic() + 120
    while Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.05)

    def go_on() -> None:
        os.kill(process.pid, signal.SIGCONT)
        process.join(120)

    try:
        yield go_on
    finally:
        process.kill()
        process.join()


def _forked(target: Callable[..., None], *arguments: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    return process


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


def _run_and_die(moment: int, path: Path, log: Path, options: dict) -> None:
    left = moment

    def hit_perhaps(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    plain = Path.replace

    def replace(self: Path, target: Path) -> Path:
        hit_perhaps()
        moved = plain(self, target)
        hit_perhaps()
        return moved

    Path.replace = replace
    event.listen(Session, "before_commit", hit_perhaps)
    event.listen(Session, "after_commit", hit_perhaps)
    api.run(path, listeners=[listening(log)], **options)


def _run_and_stop(epochs: int, path: Path, log: Path, options: dict) -> None:
    listen, left = listening(log), epochs

    def stop_perhaps(happening: object) -> None:
        nonlocal left
        left -= isinstance(happening, TrialEpoch)
        if left == 0:
            left = -1
            os.kill(os.getpid(), signal.SIGSTOP)

    try:
        api.run(path, listeners=[listen, stop_perhaps], **options)
    except Mistake as mistake:
        listen(Note(str(mistake)))
