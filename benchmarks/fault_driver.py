"""One life of a driver: `kdsearch run` in a process forked from one that has imported everything, and what it logs.

Beside the lines of `--json-log` the log has one for each checkpoint that is on the disk (`kept`: `trial`, `epoch`).
"""

import json
import mmap
import multiprocessing
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
BEATS = {"beat_seconds": 1.0, "look_seconds": 0.5, "dead_after_seconds": 6.0}
"""The lease's rhythm, quicker than a user's, so that a takeover costs seconds."""

_processes = multiprocessing.get_context("forkserver")
_starting = threading.Lock()


def preload(*more: str) -> None:
    """What the process that drivers are forked from imports; `more` are modules that not everybody has."""
    _processes.set_forkserver_preload(
        [
            *("benchmarks.fault_driver", "kdsearch.cli", "kdsearch.commands", "kdsearch.api", "kdsearch.search"),
            *("kdsearch.tracking", "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store", "kdsearch.report"),
            *("optuna.storages", "plotly.graph_objects", "scipy.stats", "sklearn.datasets", "sklearn.ensemble"),
            *("sklearn.model_selection", "jinja2", *more),
        ]
    )


class Life:
    """A driver from its start to its end. `folder` gets its log, what it says on standard error, and its clock."""

    def __init__(self, arguments: Sequence[object], folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        self._log, self._said, self._clock = folder / "log.jsonl", folder / "said.txt", folder / "clock"
        self._log.touch()
        self._clock.write_bytes(struct.pack("d", 0.0))
        self._read = 0
        self._most: int | None = None
        whole = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        paths = (str(self._log), str(self._said), str(self._clock))
        command = [str(argument) for argument in arguments]
        with _starting:
            self.process = _processes.Process(target=_live, args=(command, str(folder), whole, *paths))
            self.process.start()

    @property
    def alive(self) -> bool:
        return self.process.is_alive()

    @property
    def status(self) -> int | None:
        """The exit status, or the negative number of the signal that ended it."""
        return self.process.exitcode

    @property
    def said(self) -> str:
        return self._said.read_text(errors="replace") if self._said.exists() else ""

    def events(self) -> list[dict[str, Any]]:
        """What has been logged since the last call; a line that a kill cut off is left out."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            content = file.read(None if self._most is None else max(0, self._most - self._read))
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines() if line.startswith(b"{") and line.endswith(b"}")]

    def hear_no_more(self) -> None:
        """What it logs from now on is not read."""
        self._most = self._log.stat().st_size

    def workers(self) -> list[psutil.Process]:
        """Its worker processes, where the engine is local."""
        try:
            children = psutil.Process(self.process.pid).children()
            return [child for child in children if any("kdsearch.spawning" in word for word in child.cmdline())]
        except psutil.Error:
            return []

    def signal(self, number: int) -> None:
        if self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.join()

    def move_clock(self, seconds: float) -> None:
        self._clock.write_bytes(struct.pack("d", seconds))


def _live(command: list[str], folder: str, environment: dict[str, str], log: str, said: str, clock: str) -> None:
    for stream, path in ((1, log), (2, said)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, stream)
        os.close(file)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as a fresh interpreter has them
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["kdsearch", *command]
    _note_checkpoints(Path(log))  # by the real clock
    _clock_from(Path(clock))
    from kdsearch import search
    from kdsearch.cli import main
    from kdsearch.watching import Rhythm

    search.RHYTHM = Rhythm(**BEATS)
    sys.exit(main())


def _clock_from(path: Path) -> None:
    """Have the wall clock, as Python's `time` gives it, be off by as many seconds as the file says."""
    with path.open("r+b") as file:
        off = mmap.mmap(file.fileno(), 8)
    seconds, nanoseconds = time.time, time.time_ns

    def moved() -> float:
        return float(struct.unpack("d", off[:8])[0])

    time.time = lambda: seconds() + moved()
    time.time_ns = lambda: nanoseconds() + int(1e9 * moved())


def _note_checkpoints(log: Path) -> None:
    from kdsearch.keeping import Keeper
    from kdsearch.underway import UnderWay

    keep, now = Keeper.keep, time.time
    handle = os.open(log, os.O_WRONLY | os.O_APPEND)

    def kept(keeper: Keeper, number: int, trial: UnderWay) -> None:
        keep(keeper, number, trial)
        line = {"event": "kept", "at": now(), "trial": number, "epoch": trial.epoch}
        os.write(handle, json.dumps(line).encode() + b"\n")

    Keeper.keep = kept  # type: ignore[method-assign]
