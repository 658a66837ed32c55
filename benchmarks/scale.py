"""How far does one driver reach? Simulated workers and trials, the real driver, sampler, databases and files.

Workers pretend to train (benchmarks/virtual.py): each segment takes 10 or 60 seconds of a clock that skips the waiting,
while all that the driver does takes its real time. The ask is the sampler's own time for a proposal; everything else,
from screening to the database and the files, is the driver's.
"""

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import sqlalchemy
from optuna.storages import BaseStorage

from benchmarks import digits_space
from benchmarks.virtual import Clock, Virtual
from kdsearch import ConvNet, Data, Teacher
from kdsearch.driver import Driver
from kdsearch.events import Happening, Listener, TrialEnded
from kdsearch.prepare import Prepared, prepare
from kdsearch.sampling import Proposal, Proposals
from kdsearch.store import Store
from kdsearch.study import Source
from kdsearch.tracking import Mirror
from kdsearch.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one search cost, in real seconds; the lists have one value for each ended trial, in that order.

    `own_seconds` is the driver's time since the beginning without asks, `segments` those handed out by then.
    `drained_seconds` is when MLflow had it all.
    """

    busy_share: float
    ask_seconds: list[float]
    own_seconds: list[float]
    segments: list[int]
    peak_mib: list[float]
    writes: Counter[str]
    drained_seconds: float

    def own_ms(self, trials: int, last: int) -> float:
        """The driver's milliseconds per segment without asks, over the `last` trials before the study has `trials`."""
        begin, end = max(0, trials - last), trials - 1
        spent = self.own_seconds[end] - self.own_seconds[begin]
        return 1000 * spent / (self.segments[end] - self.segments[begin])

    def ask_ms(self, trials: int, last: int) -> float:
        return 1000 * float(np.median(self.ask_seconds[max(0, trials - last) : trials]))


def search(
    prepared: Prepared, storage: BaseStorage, *, workers: int, trials: int, seconds: float, mirrored: bool = False
) -> Run:
    """One search by so many simulated workers, with segments of `seconds`."""
    clock = Clock()
    executor = Virtual(clock, workers, lambda _: seconds)
    asks: list[float] = []
    moments: list[tuple[float, int, float]] = []
    complaints: list[str] = []
    asked, propose = 0.0, Proposals.propose

    def timed(proposals: Proposals, number: int) -> Proposal:
        nonlocal asked
        began = clock.real
        try:
            return propose(proposals, number)
        finally:
            asks.append(clock.real - began)
            asked += asks[-1]

    with ExitStack() as stack:
        writes = stack.enter_context(_counted_writes())
        stack.enter_context(patch.object(Proposals, "propose", timed))
        stack.enter_context(patch("kdsearch.driver.Local", lambda _job, _capacity: executor))
        mirror: Listener = lambda _: None  # noqa: E731
        if mirrored:
            mirror = stack.enter_context(Mirror(prepared.workspace, lambda *_: {}, complaints.append))

        def tell(happening: Happening) -> None:
            mirror(happening)
            if isinstance(happening, TrialEnded) and happening.record.state != "screened":
                peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                moments.append((clock.real - asked, executor.segments, peak_mib))

        driver = Driver(prepared, Store.create(storage, prepared.facts), tell, lambda: False, clock)
        began = clock()
        driver.run("local", workers, trials, None)
        makespan = clock() - began
    if complaints:
        raise RuntimeError(complaints[0])
    own_seconds, segments, peak_mib = (list(column) for column in zip(*moments, strict=True))
    return Run(
        busy_share=executor.busy_seconds / (workers * makespan),
        ask_seconds=asks,
        own_seconds=own_seconds,
        segments=segments,
        peak_mib=peak_mib,
        writes=writes,
        drained_seconds=clock.real,
    )


@contextmanager
def _counted_writes() -> Iterator[Counter[str]]:
    """Statements that change something and commits of transactions, by the database's file name."""
    counts: Counter[str] = Counter()

    def statement(connection: sqlalchemy.Connection, _cursor: object, text: str, *_: object) -> None:
        if text.lstrip()[:6].upper() in ("INSERT", "UPDATE", "DELETE"):
            counts[f"{Path(str(connection.engine.url.database)).stem} statements"] += 1

    def commit(connection: sqlalchemy.Connection) -> None:
        counts[f"{Path(str(connection.engine.url.database)).stem} commits"] += 1

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", statement)
    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", commit)
    try:
        yield counts
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", statement)
        sqlalchemy.event.remove(sqlalchemy.Engine, "commit", commit)


def teacher(data: Data) -> Teacher:
    return Teacher(build=lambda: ConvNet(width=8, depth=3).build(data.shape, data.classes), epochs=1)


def prepared_in(folder: Path) -> Prepared:
    """A study of the digits table's space; whole stages are segments."""
    study = replace(digits_space.study(), name="scale", teacher=teacher, segment_epochs=digits_space.EPOCHS)
    return prepare(Source.of(study), Workspace(folder))


def sampled(prepared: Prepared, name: str, sampler: str) -> Prepared:
    """The same under another sampler, as a study of its own."""
    study = replace(prepared.study, name=name, sampler=sampler)
    return replace(prepared, study=study, facts=replace(prepared.facts, name=name))
