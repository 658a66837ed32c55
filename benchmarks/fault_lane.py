"""Searches under faults, one after the other, and what each came to."""

import itertools
import shutil
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from benchmarks import fault_study
from benchmarks.common import say
from benchmarks.fault_kinds import KINDS, Ground, Kind
from benchmarks.fault_search import Search

if TYPE_CHECKING:
    from kdsearch.records import TrialRecord

TAIL_SECONDS = 420
"""What a search may take to its end once no faults are given any more."""
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
        self._bags: dict[bool, list[Kind]] = {}

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
        bag = self._bags.setdefault(search.url is None, [])
        if not bag:
            bag += [kind for kind in KINDS for _ in range(kind.weight) if kind.needs(search, self._ground)]
            self._chance.shuffle(bag)
        for kind in list(bag):
            if (search.account.began or not kind.begun) and (not kind.costs_worker or _calm(search)):
                bag.remove(kind)
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
