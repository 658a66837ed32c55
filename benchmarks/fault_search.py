"""One search under faults: its folder, its database, the lives of its drivers, and what they logged."""

import os
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

import psutil

from benchmarks import fault_study
from benchmarks.fault_account import Account, Fault
from benchmarks.fault_driver import Life

SECONDS_PER_BATCH = 0.08
STALL_MINUTES = 0.75
"""Far above what a worker takes to start on a busy machine: its first segment may wait for that."""
WORKER_MEMORY_GB = 1.5


class Search:
    """A search in `folder` with its trials in the database at `url` (None: SQLite in its workspace).

    `logs` is a folder on another disk. A driver runs once `begin` was called, until it ends or a fault ends it.
    """

    def __init__(
        self,
        folder: Path,
        logs: Path,
        chance: Random,
        *,
        engine: str,
        url: str | None = None,
        more: tuple[object, ...] = (),
        environment: Mapping[str, str] | None = None,
        trials: int = fault_study.TRIALS,
        slowly: bool = True,
    ) -> None:
        self.folder, self.chance, self.engine, self.url = folder, chance, engine, url
        self.account = Account()
        self.path = folder / "faulty.py"
        self.workspace = folder / "runs"
        self.orders = folder / "orders"
        self.ended: list[str] = []
        self.ordered_losses = 0
        self.damaged_students: set[str] = set()
        self._logs, self._more, self._trials = logs, more, trials
        self._environment = dict(environment or {})
        self._lives = 0
        self.said = ""
        self.life: Life | None = None
        self.others: list[Life] = []
        folder.mkdir(parents=True)
        shutil.copy(fault_study.__file__, self.path)
        if slowly:
            self.orders.mkdir()
            (self.orders / "seconds").write_text(str(SECONDS_PER_BATCH))

    @property
    def study_folder(self) -> Path:
        return self.workspace / fault_study.NAME

    def begin(self) -> None:
        self.listen()
        for order in self.orders.glob("*.order"):  # of a driver whose workers took it no more
            order.unlink(missing_ok=True)
        self.account.new_life()
        self.ordered_losses = self.account.losses
        self.life = self.driver(self.workspace)

    def driver(self, workspace: Path) -> Life:
        """A driver of this search, beside whatever else runs."""
        self._lives += 1
        local = ("--workers", 2, "--worker-memory", WORKER_MEMORY_GB) if self.engine == "local" else ()
        storage = ("--storage", self.url) if self.url is not None else ()
        stall = ("--stall-minutes", STALL_MINUTES)
        about = (*local, *storage, *stall, *self._more, "--engine", self.engine, "--trials", self._trials)
        command = ("run", self.path, "--workspace", workspace, "--no-confirm", "--json-log", "--debug", *about)
        return Life(command, self._logs / f"life-{self._lives:03d}", self._environment)

    def listen(self) -> None:
        if self.life is not None:
            for event in self.life.events():
                self.account.take_in(event)

    def over(self) -> bool:
        """Whether the driver has ended; its end is written down."""
        if self.life is None or self.life.alive:
            return self.life is None
        self.listen()
        status, said = self.life.status, self.life.said
        lines = [line for line in said.splitlines() if line.startswith("kdsearch:")]
        self.ended.append(f"{status}: {lines[-1] if lines else said[-300:]}")
        self.said += said
        self.life = None
        return True

    def faulted(self, kind: str) -> None:
        """From this moment on recovery is measured."""
        self.account.faults.append(Fault(kind=kind, at=time.time()))

    def order(self, what: str) -> None:
        """Have one worker that trains do this."""
        self.ordered_losses += 1
        (self.orders / f"{time.monotonic_ns()}-{what}.order").touch()

    def kill_driver(self) -> None:
        assert self.life is not None
        self.life.kill()
        self.over()

    def stop_all(self, number: int = signal.SIGSTOP) -> None:
        """The driver and its workers stand still (or, by SIGCONT, go on)."""
        assert self.life is not None
        workers = self.life.workers()
        self.life.signal(number)
        for worker in workers:
            try:
                worker.send_signal(number)
            except psutil.Error:
                continue

    def copy_workspace(self) -> Path:
        """The workspace once more, as it is at this moment on the disk."""
        copy = self.workspace.with_name(f"runs-{self._lives}")
        shutil.copytree(self.workspace, copy, ignore_dangling_symlinks=True)
        return copy

    def move_to(self, workspace: Path) -> None:
        """Go on in that workspace."""
        self.workspace = workspace

    def clear(self) -> None:
        if self.life is not None and self.life.alive:
            self.life.kill()
        for life in self.others:
            if life.alive:
                life.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def waits(self, seconds: float) -> None:
        """Listen for so long, or until the driver has ended."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and self.life is not None and self.life.alive:
            time.sleep(min(left, 0.2))
            self.listen()


def on_disk(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and os.stat(path).st_size > 0
