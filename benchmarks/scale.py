"""How far does one driver reach? Simulated workers and trials, the real driver, sampler, databases and files.

Workers pretend to train (benchmarks/virtual.py): each segment takes 10 or 60 seconds of a clock that skips the waiting,
while all that the driver does takes its real time. The ask is the sampler's own time for a proposal; everything else,
from screening to the database and the files, is the driver's.
"""

import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import sqlalchemy
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from benchmarks import digits_space
from benchmarks.common import Figure, at_least, at_most, finish, options, say
from benchmarks.virtual import Clock, Virtual
from kdsearch import ConvNet, Data, Teacher
from kdsearch.budget import Budget
from kdsearch.driver import Driver
from kdsearch.events import Happening, Listener, TrialEnded
from kdsearch.opening import open_storage
from kdsearch.prepare import Prepared, prepare
from kdsearch.sampling import Proposal, Proposals
from kdsearch.source import Source
from kdsearch.stopping import RULES, Rule
from kdsearch.store import Store
from kdsearch.tracking import Mirror
from kdsearch.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one search cost, in seconds of the driver's thread; the lists have one value for each trial.

    `own_seconds` is the driver's time without asks up to each trial's end, `peak_mib` the memory by then.
    """

    busy_share: float
    ask_seconds: list[float]
    own_seconds: list[float]
    peak_mib: list[float]
    writes: Counter[str]

    def own_ms(self, trials: int, last: int = 200) -> float:
        """The driver's milliseconds per trial without asks, over the `last` trials before `trials` have ended."""
        begin = max(1, trials - last)
        return 1000 * (self.own_seconds[trials - 1] - self.own_seconds[begin - 1]) / (trials - begin)

    def ask_ms(self, trials: int, last: int) -> float:
        return 1000 * float(np.median(self.ask_seconds[max(0, trials - last) : trials]))


def search(
    prepared: Prepared,
    storage: BaseStorage,
    *,
    workers: int,
    trials: int,
    seconds: float,
    rule: Rule | None = None,
    mirrored: bool = False,
    processor: bool = False,
) -> Run:
    """One search by so many simulated workers, with segments of `seconds`."""
    clock = Clock(processor=processor)
    executor = Virtual(clock, workers, lambda _: seconds)
    asks: list[float] = []
    moments: list[tuple[float, float]] = []
    complaints: list[str] = []
    asked, propose = 0.0, Proposals.propose

    def timed(proposals: Proposals, number: int) -> Proposal:
        nonlocal asked
        began = clock.worked
        try:
            return propose(proposals, number)
        finally:
            asks.append(clock.worked - began)
            asked += asks[-1]

    with ExitStack() as stack:
        writes = stack.enter_context(_counted_writes())
        stack.enter_context(patch.object(Proposals, "propose", timed))
        mirror: Listener = lambda _: None  # noqa: E731
        if mirrored:
            mirror = stack.enter_context(Mirror(prepared.workspace, lambda *_: {}, complaints.append))

        def tell(happening: Happening) -> None:
            mirror(happening)
            if isinstance(happening, TrialEnded) and happening.record.state != "screened":
                peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                moments.append((clock.worked - asked, peak_mib))

        driver = Driver(
            prepared,
            Store.create(storage, prepared.facts),
            executor,
            budget=Budget(trials=trials),
            rule=rule,
            tell=tell,
            stopping=lambda: False,
            clock=clock,
        )
        began = clock()
        driver.run()
        makespan = clock() - began
    if complaints:
        raise RuntimeError(complaints[0])
    own_seconds, peak_mib = (list(column) for column in zip(*moments, strict=True))
    return Run(
        busy_share=executor.busy_seconds / (workers * makespan),
        ask_seconds=asks,
        own_seconds=own_seconds,
        peak_mib=peak_mib,
        writes=writes,
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


def main() -> int:
    parser = options(__doc__)
    parser.add_argument(
        "--trials", type=int, help="of the longest search (10,000; 1,200 with --quick, without the rules and MLflow)"
    )
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="count the driver's processor time alone, on a machine that others use too; waits for disks are left out",
    )
    arguments = parser.parse_args()
    trials = arguments.trials or (1_200 if arguments.quick else 10_000)
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(prepared_in(Path(folder)), arguments.processor_time)
        figures = [*bench.long(trials), *bench.samplers(trials), *bench.workers()]
        if not arguments.quick:  # they take as long again
            figures += [*bench.rules(1_000), *bench.mirror(100)]
    return finish(figures, as_json=arguments.json)


class _Bench:
    """The measurements, each a search of its own in one database."""

    def __init__(self, prepared: Prepared, processor: bool) -> None:
        self._prepared = prepared
        self._storage = open_storage(prepared.workspace.storage_url, create=True)
        self._processor = processor
        self._history: list[FrozenTrial] = []

    def long(self, trials: int) -> list[Figure]:
        """256 workers, segments of 10 seconds, random proposals; what a trial costs early and late."""
        run = self._search("long", "random", 256, trials, 10.0)
        self._history = Store(self._storage, "long").frozen_trials()
        early, late = max(trials // 10, 500), trials - 256  # at the end nothing new is begun
        before, after = run.own_ms(early), run.own_ms(late)
        return [
            at_least("256 workers, 10 s segments, random: busy share", run.busy_share, 0.95),
            Figure(name=f"driver, ms per trial at {early:,} trials", value=before),
            at_most(f"driver, ms per trial at {late:,} trials, times that", after / before, 2.0),
            Figure(name=f"proposal, random, ms at {early:,} trials", value=run.ask_ms(early, 100)),
            Figure(name=f"proposal, random, ms at {late:,} trials", value=run.ask_ms(late, 100)),
            Figure(name=f"memory at {early:,} trials, MiB at most", value=run.peak_mib[early - 1]),
            Figure(name=f"memory at {late:,} trials, MiB at most", value=run.peak_mib[late - 1]),
            *(Figure(name=f"database, {what} per trial", value=n / trials) for what, n in sorted(run.writes.items())),
        ]

    def samplers(self, trials: int) -> list[Figure]:
        """64 workers, segments of 60 seconds; and one proposal each after a long history."""
        figures = []
        for sampler in ("tpe", "size_aware"):
            run = self._search(f"by-{sampler}", sampler, 64, min(trials, 256), 60.0)
            figures.append(at_least(f"64 workers, 60 s segments, {sampler}: busy share", run.busy_share, 0.95))
            for length in (trials // 10, trials):
                value = self._ask_seconds(sampler, length)
                # 64 workers hand in a segment of 60 s every 0.94 s
                figures.append(at_most(f"proposal, {sampler}, s at {length:,} trials", value, 60 / 64))
        return figures

    def workers(self) -> list[Figure]:
        figures = []
        for workers in (1, 16, 64):
            run = self._search(f"workers-{workers}", "random", workers, 4 * workers, 10.0)
            figures.append(Figure(name=f"{workers} workers, 10 s segments, random: busy share", value=run.busy_share))
        return figures

    def rules(self, trials: int) -> list[Figure]:
        """The driver's cost where every decision asks a stopping rule."""
        figures = []
        for name, rule in RULES.items():
            run = self._search(f"rule-{name}", "random", 64, trials, 10.0, rule=rule())
            figures.append(
                Figure(name=f"{name}: driver, ms per trial at {trials:,} trials", value=run.own_ms(trials, 50))
            )
        return figures

    def mirror(self, trials: int) -> list[Figure]:
        """What MLflow gets, and how fast its writer is: it has a thread of its own that may lag behind."""
        began = time.perf_counter()
        run = self._search("mirrored", "random", 4, trials, 60.0, mirrored=True)
        seconds = time.perf_counter() - began
        figures = [Figure(name="MLflow, ms per trial until all is written", value=1000 * seconds / trials)]
        written = [(what, n) for what, n in sorted(run.writes.items()) if what.startswith("mlflow")]
        return [*figures, *(Figure(name=f"MLflow, {what} per trial", value=n / trials) for what, n in written)]

    def _search(self, name: str, sampler: str, workers: int, trials: int, seconds: float, **more: Any) -> Run:
        say(f"{name}: {trials:,} trials by {workers} simulated workers, {sampler}")
        prepared = sampled(self._prepared, name, sampler)
        return search(
            prepared,
            self._storage,
            workers=workers,
            trials=trials,
            seconds=seconds,
            processor=self._processor,
            **more,
        )

    def _ask_seconds(self, sampler: str, length: int) -> float:
        """The median of three proposals after the first `length` trials of the long search."""
        prepared = sampled(self._prepared, "ask", sampler)
        past = self._history[:length]
        proposals = Proposals(prepared.study, prepared.screen, past, prepared.facts.reference)
        taken = []
        for number in range(length, length + 4):
            clock = Clock(processor=self._processor)
            proposal = proposals.propose(number)
            taken.append(clock.worked)
            proposals.accepted(number, proposal.token)
        return float(np.median(taken[1:]))  # the first takes the history in


if __name__ == "__main__":
    sys.exit(main())
