"""The protocol between driver and workers, and what every worker does with a segment."""

import traceback
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from kdsearch.data.base import Data
from kdsearch.data.kept import load_data
from kdsearch.events import Note, TrialEpoch
from kdsearch.files import DISK_TROUBLE, DamagedError
from kdsearch.mistakes import DiskError, Mistake, user_code
from kdsearch.processes import BlamelessError as BlamelessError
from kdsearch.processes import LostError as LostError  # one class for all engines
from kdsearch.signals import Signals
from kdsearch.source import Source
from kdsearch.study import Study
from kdsearch.teacher import Frozen, freeze
from kdsearch.training import DivergedError, Epoch
from kdsearch.trial import Failed, Progress, Segment, advance

_NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"
"""How torch says on a CPU, in a plain RuntimeError, what a MemoryError says elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to know of a study before it takes segments.

    `folder` is the study's in the workspace, where `keep_data` has left the data; the fingerprints are the driver's, so
    that a worker whose data or teacher differ refuses to work.
    """

    source: Source
    folder: Path
    data_fingerprint: str
    teacher_key: str


class Executor(Protocol):
    """Runs segments, as many at a time as it has room for.

    Futures alone tell of trouble: nothing else here raises because workers are lost. Where all are lost for good, as a
    cluster whose head is gone, `wait` gives every segment under way: one raises the `Mistake` that says so, once, the
    others and those submitted later `LostError`.
    """

    @property
    def capacity(self) -> int:
        """How many segments a driver keeps under way: at least 1. It may change while they run."""
        ...

    def submit(self, segment: Segment) -> "Future[Progress | Failed]":
        """Run a segment. The future raises `LostError` where its worker died, `Mistake` where none can be set up."""
        ...

    def wait(
        self, under_way: "Collection[Future[Progress | Failed]]", timeout: float
    ) -> "set[Future[Progress | Failed]]":
        """Those of `under_way` that are done, as soon as there is one or after `timeout` seconds."""
        ...

    def events(self) -> list[TrialEpoch | Note]:
        """What has been reported since the last call."""
        ...

    def stop(self) -> None:
        """Ask segments to end after the epoch they are in; their futures still give their progress."""
        ...

    def go_on(self) -> None:
        """Take a stop back, once no segment is running: what is submitted now runs to its end."""
        ...

    def running(self, future: "Future[Progress | Failed]") -> bool:
        """Whether a worker has taken this segment up, rather than that it waits for one."""
        ...

    def abandon(self, future: "Future[Progress | Failed]") -> None:
        """End the worker that has this segment in its hands: it hangs. The future raises `LostError`; others go on."""
        ...

    def shutdown(self) -> None:
        """End all workers, at once."""
        ...


def load_job(job: Job) -> tuple[Study, Data, Signals]:
    """A worker's own study, data and signals. Raises `Mistake` where they are not the driver's."""
    study = job.source.load()
    try:
        data = load_data(job.folder / "data", job.data_fingerprint)
    except (FileNotFoundError, DamagedError) as error:
        raise Mistake(f"a worker cannot read the data that the driver kept for it ({error}); run again") from None

    def teacher() -> Frozen:
        with user_code("teacher(data)"):
            given = study.teacher(data)
        return freeze(given, data, job.folder / "teacher")

    return study, data, Signals(teacher, job.teacher_key, data, job.folder / "signals", study.signals_gb)


def run_segment(
    segment: Segment, data: Data, signals: Signals, on_epoch: Callable[[Epoch], bool], device: str = "cpu"
) -> Progress | Failed:
    """`advance`, with whatever the trial's own code raises turned into a `Failed`.

    Raises `DiskError` where the disk is full, read-only or failing: so it would be for every other trial.
    """
    try:
        return advance(segment, data, signals, on_epoch, device)
    except DivergedError as error:
        return Failed(trial=segment.trial, reason=str(error), trace="")
    except DiskError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
            where = error.filename or "a file"
            raise DiskError(f"a worker cannot write {where} ({error.strerror}); mend that, and run again") from None
        trace = "".join(traceback.format_exception(error))
        return Failed(trial=segment.trial, reason=_reason(error), trace=trace)


def _reason(error: BaseException) -> str:
    if isinstance(error, Mistake):
        return str(error)
    said = f"{type(error).__name__}: {str(error).strip().split(chr(10))[0]}"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or _NO_MEMORY in str(error):
        return f"out of memory ({said}): lower the student's batch_size or size, or run fewer --workers"
    return f"{type(error).__name__}: {error}"
