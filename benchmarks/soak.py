"""Does a driver that searches for long grow? 5,000 trials in one study, simulated training, everything else real.

Question   Does a driver's memory grow, do files stay open, does a trial cost more late than early?
Command    python -m benchmarks.soak [--trials N] [--sampler NAME]

The search is the one behind `kdsearch run`: lease, database, files, sampler, JSON log (to a file); only MLflow is left
out, which has a benchmark of its own, and workers pretend to train (benchmarks/virtual.py). Memory is this process's
resident set, read first once everything is loaded that a search needs.
"""

import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil

from benchmarks import digits_space
from benchmarks.common import Figure, at_most, finish, options, say
from benchmarks.scale import teacher
from benchmarks.virtual import Clock, Virtual
from kdsearch import search
from kdsearch.events import Happening, TrialEnded
from kdsearch.progress import JsonLog
from kdsearch.source import Source
from kdsearch.study import Study
from kdsearch.workspace import Workspace

NAME = "soak"
WORKERS = 16
WARM = 200
"""Trials after which everything is loaded that a search needs, and memory is read for the first time."""
GROWTH_MIB = 100
"""What a driver may grow by, its records of 5,000 trials among it."""


@dataclass
class Readings:
    """One value for each trial that has ended: processor seconds of this process, and its resident memory in MiB."""

    seconds: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    process: psutil.Process = field(default_factory=psutil.Process)

    def __call__(self, happening: Happening) -> None:
        if not isinstance(happening, TrialEnded) or happening.record.state == "screened":
            return
        self.seconds.append(time.process_time())
        self.mib.append(self.process.memory_info().rss / 2**20)
        self.files.append(self.process.num_fds())
        if len(self.seconds) % 500 == 0:
            say(f"{len(self.seconds):,} trials, {self.mib[-1]:.0f} MiB, {self.files[-1]} files")

    def ms(self, first: int, last: int) -> float:
        """Milliseconds of the processor for each of the trials from `first` to `last`."""
        return 1000 * (self.seconds[last - 1] - self.seconds[first]) / (last - 1 - first)

    def slope(self) -> float:
        """MiB per 1,000 trials, by least squares, once warm."""
        counts = np.arange(WARM, len(self.mib))
        return float(1000 * np.polyfit(counts, self.mib[WARM:], 1)[0])


def main(arguments: list[str] | None = None) -> int:
    parser = options(__doc__)
    parser.add_argument("--trials", type=int, help=f"at least {2 * WARM} (5,000; 1,000 with --quick)")
    parser.add_argument("--sampler", default="random", help="its proposals are part of a trial's cost")
    given = parser.parse_args(arguments)
    trials = given.trials if given.trials is not None else 1_000 if given.quick else 5_000
    if trials < 2 * WARM:
        parser.error(f"--trials must be at least {2 * WARM}, got {trials}: memory is read once {WARM} are over")
    with tempfile.TemporaryDirectory() as folder:
        figures = soaked(Path(folder), trials, given.sampler)
    return finish(figures, as_json=given.json)


def soaked(folder: Path, trials: int, sampler: str) -> list[Figure]:
    study = replace(
        digits_space.study(),
        name=NAME,
        teacher=teacher,
        segment_epochs=digits_space.EPOCHS,
        sampler=sampler,
        trials=trials,
    )
    place, readings = Workspace(folder), Readings()
    began = time.perf_counter()
    searched(study, place, readings)
    seconds = time.perf_counter() - began
    part = min(500, trials // 4)
    grown = readings.mib[-1] - readings.mib[WARM]
    early, late = readings.ms(0, part), readings.ms(trials - part, trials)
    return [
        Figure(name="trials", value=len(readings.mib)),
        Figure(name="seconds in all", value=seconds),
        Figure(name=f"memory after {WARM} trials, MiB", value=readings.mib[WARM]),
        Figure(name="memory at the end, MiB", value=readings.mib[-1]),
        Figure(name="memory, MiB per 1,000 trials", value=readings.slope()),
        at_most("memory grown, MiB", grown, GROWTH_MIB),
        Figure(name=f"open files after {WARM} trials", value=readings.files[WARM]),
        at_most("open files at the end beyond those", readings.files[-1] - readings.files[WARM], 0),
        Figure(name="database, MB", value=(folder / "optuna.db").stat().st_size / 1e6),
        Figure(name=f"processor, ms per trial, first {part}", value=early),
        Figure(name=f"processor, ms per trial, last {part}", value=late),
    ]


def searched(study: Study, place: Workspace, readings: Readings) -> None:
    """The study searched by workers that only pretend."""

    def workers(*_: object) -> "nullcontext[Virtual]":
        return nullcontext(Virtual(Clock(), WORKERS, lambda segment: 10.0))

    place.make()
    with (
        patch.object(search, "_workers", workers),
        (place.root / "log.jsonl").open("w", encoding="utf-8") as stream,
    ):
        search.search(Source.of(study), place, study=study, listeners=[JsonLog(stream), readings])


if __name__ == "__main__":
    sys.exit(main())
