"""Is anything lost, whatever breaks? Searches under hundreds of faults, held against an undisturbed one.

    python -m benchmarks.faults [--faults N] [--seed S] [--minutes M] [--quick] [--json] [--without ray postgresql]

Drivers and workers are killed, hang, sleep and grow, databases and servers go away, files are torn, the disk is full,
the power is cut (benchmarks/fault_kinds.py), at random moments of tiny searches of digits (benchmarks/fault_study.py),
on the engines local and ray, with SQLite and PostgreSQL. A driver that ended is started again. Each search ends without
faults, and then every result that a driver's log said was told is in the database, no segment whose result was stored
was trained again (but where its file was what the fault spoilt), the table is that of an undisturbed run with the
engine inline, to the bit, nothing said a traceback, and `kdsearch doctor` names every damaged student. Exit status 0:
all holds.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.common import Figure, at_least, at_most, finish, options, say
from benchmarks.fault_driver import ROOT, preload
from benchmarks.fault_ground import made_ground
from benchmarks.fault_lane import Bounds, Lane, Verdict, undisturbed

FAULTS, MINUTES, QUICK_MINUTES = 220, 40.0, 6.0


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
        grounds = {engine: made_ground(stack, folder / engine, engine, given.without) for engine in engines}
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
