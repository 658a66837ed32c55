"""Is anything lost, whatever breaks? Searches under hundreds of faults, held against an undisturbed one.

    python -m benchmarks.faults [--faults N] [--seed S] [--minutes M] [--quick] [--json] [--without ray postgresql]

Drivers and workers are killed, hang, sleep and grow, databases and servers go away, files are torn, the disk is full, the
power is cut (benchmarks/fault_kinds.py), at random moments of tiny searches of digits (benchmarks/fault_study.py), on
the engines local and ray, with SQLite and PostgreSQL. A driver that ended is started again. Each search ends without
faults, and then every result that a driver's log said was told is in the database, no segment whose result was stored
was trained again (but where its file was what the fault spoilt), the table is that of an undisturbed run with the engine
inline, to the bit, nothing said a traceback, and `kdsearch doctor` names every damaged student. Exit status 0: all holds.
"""

import argparse
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from benchmarks import fault_study
from benchmarks.common import Figure, at_least, at_most, finish, options, say
from benchmarks.fault_driver import ROOT, preload
from benchmarks.fault_kinds import KINDS, Ground, Kind
from benchmarks.fault_search import Search

if TYPE_CHECKING:
    from kdsearch.store import TrialRecord

FAULTS, MINUTES, QUICK_MINUTES = 220, 40.0, 6.0
TAIL_SECONDS = 420
"""What a search may take to its end once no faults are given any more."""
DISK = "400m"
_PER_SEARCH = 25
"""Then a search is left alone, so that others have their turn."""
_IN_VAIN = 6
"""Drivers in a row that ended by themselves and got nothing done: the search is given up."""

Row = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one search came to."""

    search: Search
    ended: bool
    told_lost: int
    differing: int
    unnamed: int
    tracebacks: int


@dataclass
class Bounds:
    """How many faults may still be given, until when; for several threads."""

    left: int
    until: float
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def more(self) -> bool:
        return self.left > 0 and time.monotonic() < self.until

    def given(self) -> None:
        with self._lock:
            self.left -= 1


def main(arguments: list[str] | None = None) -> int:
    parser = options(__doc__)
    parser.add_argument("--faults", type=int, default=FAULTS, help=f"{FAULTS}, or what --minutes have room for")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help=f"of giving faults ({MINUTES:g}; {QUICK_MINUTES:g} with --quick)")
    parser.add_argument("--without", nargs="+", choices=["ray", "postgresql"], default=[])
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave what the drivers logged in this new folder")
    given = parser.parse_args(arguments)
    if given.faults < 1:
        parser.error(f"--faults must be above 0, got {given.faults}")
    if given.minutes is not None and not 0 < given.minutes < 10**6:
        parser.error(f"--minutes must be above 0, got {given.minutes}")
    if given.keep is not None and given.keep.exists():
        parser.error(f"--keep {given.keep} is there already; name a new folder")
    if missing := absent(given.without):
        parser.exit(2, f"faults: {missing}\n")
    return finish(campaign(given), as_json=given.json)


def absent(without: Sequence[str]) -> str | None:
    """What is needed and not here, in one line."""
    from tests.postgres import _programs

    if "ray" not in without and importlib.util.find_spec("ray") is None:
        return "Ray is not installed; pip install 'kdsearch[ray]', or leave it out with --without ray"
    if "postgresql" not in without and (importlib.util.find_spec("psycopg") is None or _programs() is None):
        return (
            "PostgreSQL needs its programs (initdb, pg_ctl, pg_dump) and the extra postgres; install them, or leave it "
            "out with --without postgresql"
        )
    return None


def campaign(given: argparse.Namespace) -> list[Figure]:
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["OMP_NUM_THREADS"] = "1"
    with_ray = "ray" not in given.without
    preload(*(["kdsearch.executors.ray"] if with_ray else []))
    minutes = given.minutes or (QUICK_MINUTES if given.quick else MINUTES)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kdsearch-faults-")))
        logs = given.keep or folder / "logs"
        say("an undisturbed search, inline")
        whole = undisturbed(folder / "undisturbed")
        engines = ["local", *(["ray"] if with_ray else [])]
        grounds = {engine: _ground(stack, folder / engine, engine, given.without) for engine in engines}
        bounds = Bounds(given.faults, time.monotonic() + 60 * minutes)
        lanes = [
            Lane(engine, grounds[engine], folder / engine, logs / engine, given.seed, bounds, whole)
            for engine in engines
        ]
        beside = threading.Thread(target=lanes[0].run)
        beside.start()
        for lane in lanes[1:]:  # in the main thread, as Ray would have it
            lane.run()
        beside.join()
    for lane in lanes:
        if lane.error is not None:
            raise lane.error
    return figures([verdict for lane in lanes for verdict in lane.verdicts], given)


def undisturbed(folder: Path) -> dict[int, Row]:
    """The table of a search with the engine inline to which nothing happens."""
    from kdsearch import api

    folder.mkdir()
    path = shutil.copy(fault_study.__file__, folder / "faulty.py")
    results = api.run(path, workspace=folder / "runs", engine="inline", track=False, confirm=False, progress=False)
    return rows(results.records)


def table(search: Search) -> dict[int, Row]:
    """What does not depend on who trained when, by trial."""
    from kdsearch import api

    records = api.open_study(fault_study.NAME, workspace=search.workspace, storage=search.url).records
    return rows(records)


def rows(records: "Sequence[TrialRecord]") -> dict[int, Row]:
    return {
        record.number: (record.state, record.params, record.measured, [line["loss"] for line in record.curve])
        for record in records
    }


# what searches stand on


def _ground(stack: ExitStack, folder: Path, engine: str, without: Sequence[str]) -> Ground:
    from tests.postgres import Postgres, _account, _programs

    folder.mkdir()
    ground = Ground(disk=stack.enter_context(_small_disk(folder / "disk")))
    if "postgresql" not in without and (programs := _programs()) is not None:
        server = Postgres(programs, _account())
        stack.callback(server.remove)
        ground.postgres = server
    if engine == "local":
        ground.tracking = Tracking(folder)
        stack.callback(ground.tracking.stop)
    if engine == "ray":
        from tests.clusters import Machines

        ground.machines = Machines()
        stack.callback(ground.machines.cluster.shutdown)
        for _ in range(2):
            ground.machines.add(cpus=1)
    return ground


@contextmanager
def _small_disk(place: Path) -> Iterator[Path | None]:
    """A file system of its own that can be filled; None where none can be mounted, which is said."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        say(f"no disk is filled: none can be mounted here ({mounted.stderr.strip()})")
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=False)


class Tracking:
    """MLflow's server, which keeps its address when it comes back."""

    def __init__(self, folder: Path) -> None:
        from tests.servers import free_port

        self._folder = folder / "mlflow"
        self._folder.mkdir()
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self._stack = ExitStack()
        self.start()

    def start(self) -> None:
        from tests.servers import mlflow_server

        database = f"sqlite:///{self._folder / 'mlflow.db'}"
        self._stack.enter_context(mlflow_server(database, self._folder, self._port))

    def stop(self) -> None:
        self._stack.close()


# one search after the other


class Lane:
    """Searches with one engine, each under faults until there are no more to give, by turns with either storage."""

    def __init__(
        self, engine: str, ground: Ground, folder: Path, logs: Path, seed: int, bounds: Bounds, whole: dict[int, Row]
    ) -> None:
        self.verdicts: list[Verdict] = []
        self.error: Exception | None = None
        self._engine, self._ground, self._folder, self._logs = engine, ground, folder, logs
        self._bounds, self._whole = bounds, whole
        self._chance = Random(f"{engine} {seed}")
        self._bag: list[Kind] = []

    def run(self) -> None:
        try:
            storages = ["sqlite", *(["postgresql"] if self._ground.postgres is not None else [])]
            for number, storage in enumerate(itertools.cycle(storages)):
                if number >= len(storages) and not self._bounds.more():
                    return
                self._searched(number, storage)
        except Exception as error:
            self.error = error

    def _searched(self, number: int, storage: str) -> None:
        name = f"{self._engine} {storage} {number}"
        url = self._ground.postgres.database(f"search{number}") if storage == "postgresql" else None
        tracking = {"MLFLOW_TRACKING_URI": self._ground.tracking.address} if self._ground.tracking else {}
        machines = self._ground.machines
        search = Search(
            (self._ground.disk or self._folder) / f"search-{number}",
            self._logs / f"search-{number}",
            self._chance,
            engine=self._engine,
            url=url,
            more=("--address", machines.address) if machines is not None else (),
            environment=tracking if number % 2 else {},
        )
        try:
            ended = self._driven(search, name)
            verdict = self._judged(search, ended)
        finally:
            search.clear()
        self.verdicts.append(verdict)
        say(f"{name}: {len(search.account.faults)} faults, {Counter(search.ended)}")
        for line in (*search.account.repeated, f"{replace(verdict, search=None)}"):  # type: ignore[arg-type]
            say(f"    {line}")

    def _driven(self, search: Search, name: str) -> bool:
        """Start drivers until one comes to the end; gives whether one did."""
        search.begin()
        in_vain, done, last = 0, 0, None
        while True:
            if search.over():
                if search.ended and search.ended[-1].startswith("0:"):
                    return True
                killed = search.ended[-1].startswith("-9:")
                in_vain = 0 if killed or len(search.account.finished_at) > done else in_vain + 1
                done = len(search.account.finished_at)
                if in_vain >= _IN_VAIN:
                    say(f"{name} is given up: {search.ended[-_IN_VAIN:]}")
                    return False
                search.begin()
            if not self._bounds.more() or len(search.account.faults) >= _PER_SEARCH:
                last = last or time.monotonic() + TAIL_SECONDS
                if time.monotonic() > last:
                    say(f"{name} does not come to its end")
                    return False
            elif self._due(search):
                self._give(search, name)
            search.waits(0.2)

    def _due(self, search: Search) -> bool:
        """Mostly a fault comes once the search has recovered from the one before, sometimes into that."""
        if not search.account.began:
            return self._chance.random() < 0.004
        faults, finished = search.account.faults, search.account.finished_at
        recovered = not faults or (bool(finished) and finished[-1] > faults[-1].at)
        return self._chance.random() < (0.25 if recovered else 0.01)

    def _give(self, search: Search, name: str) -> None:
        if not self._bag:
            self._bag = [kind for kind in KINDS for _ in range(kind.weight) if kind.needs(search, self._ground)]
            self._chance.shuffle(self._bag)
        for kind in list(self._bag):
            if not kind.needs(search, self._ground):
                self._bag.remove(kind)
            elif (search.account.began or not kind.begun) and (not kind.costs_worker or _calm(search)):
                self._bag.remove(kind)
                before = len(search.account.faults)
                if kind.give(search, self._ground):
                    self._bounds.given()
                    say(f"{name}: {kind.name} ({self._bounds.left} left)")
                del search.account.faults[before + 1 :]
                return

    def _judged(self, search: Search, ended: bool) -> Verdict:
        from kdsearch import diagnose

        found = table(search)
        told_lost = sum(
            found.get(number, ("", {}, {}))[0] != state or found[number][2] != measured
            for number, (state, measured) in search.account.told.items()
        )
        checkup = diagnose(
            fault_study.NAME, track=False, idle_seconds=0, workspace=search.workspace, storage=search.url
        )
        named = " ".join(map(str, checkup.flaws))
        differing = [number for number in self._whole if found.get(number) != self._whole[number]]
        for number in differing[:3]:
            say(f"    trial {number}: {found.get(number)} where it is {self._whole[number]}")
        return Verdict(
            search=search,
            ended=ended,
            told_lost=told_lost + len(search.account.told_otherwise),
            differing=len(differing) + len(set(found) - set(self._whole)),
            unnamed=sum(name not in named for name in search.damaged_students),
            tracebacks=search.said.count("Traceback"),
        )


def _calm(search: Search) -> bool:
    """Whether no trial's segment could be lost so often that the trial rightly fails, and all faults so far told."""
    account = search.account
    last = account.faults[-1].at if account.faults else 0.0
    if account.losses < search.ordered_losses and time.time() - last > 90:
        search.ordered_losses = account.losses  # it hit a worker with nothing to do
    return account.losses >= search.ordered_losses and max(account.lost.values(), default=0) < 2


# figures


def figures(verdicts: Sequence[Verdict], given: argparse.Namespace) -> list[Figure]:
    kinds = Counter(fault.kind for one in verdicts for fault in one.search.account.faults)
    wanted = min(given.faults, 1 if given.quick or given.minutes is not None else given.faults)
    found = [at_least("faults given", sum(kinds.values()), wanted)]
    found += [Figure(name=f"  {kind}", value=count) for kind, count in sorted(kinds.items())]
    cells: dict[str, list[Verdict]] = {}
    for one in verdicts:
        cells.setdefault(f"{one.search.engine}, {'SQLite' if one.search.url is None else 'PostgreSQL'}", []).append(one)
    for name, group in (*sorted(cells.items()), ("all", list(verdicts))):
        found += _of(name, group)
    return found


def _of(name: str, group: Sequence[Verdict]) -> list[Figure]:
    accounts = [one.search.account for one in group]
    recoveries = [seconds for account in accounts for seconds in account.recovery_seconds()]
    return [
        Figure(name=f"{name}: faults", value=sum(len(account.faults) for account in accounts)),
        Figure(name=f"{name}: searches", value=len(group)),
        at_most(f"{name}: searches that did not end", sum(not one.ended for one in group), 0),
        Figure(name=f"{name}: results told", value=sum(len(account.told) for account in accounts)),
        at_most(f"{name}: told results lost", sum(one.told_lost for one in group), 0),
        at_most(f"{name}: finished segments repeated", sum(len(account.repeated) for account in accounts), 0),
        Figure(name=f"{name}: segments in flight tried again", value=sum(a.in_flight_again for a in accounts)),
        at_most(f"{name}: trials that differ from an undisturbed run's", sum(one.differing for one in group), 0),
        at_most(f"{name}: damaged students that the doctor did not name", sum(one.unnamed for one in group), 0),
        at_most(f"{name}: tracebacks", sum(one.tracebacks for one in group), 0),
        Figure(name=f"{name}: longest recovery, s", value=max(recoveries, default=float("nan"))),
    ]


if __name__ == "__main__":
    sys.exit(main())
