"""How much sooner than other tuners, given the plain loop's training, does kdsearch have what the best of them has?

Syne Tune's MO-ASHA and Ray Tune with OptunaSearch run benchmarks/trainable.py: the plain loop's training, teacher live,
one thread to each worker; and, report only, kdsearch's `advance` with stored signals. All seconds count from the start
of the tuner's process. For the peers every student counts that was measured on the whole validation split, stopped at a
rung or trained in full; for kdsearch only full distillations do.

    pip install --constraint constraints.txt '.[peers]'
    python -m benchmarks.peers --data DIR [--seconds 600] [--repeats 3] [--keep DIR]
    python -m benchmarks.peers --data DIR --quick          180 s each, once, the peers' training only
"""

import argparse
import importlib.metadata
import importlib.util
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import sides, timeline, vanilla
from benchmarks.common import Figure, finish, options, say
from benchmarks.timeline import Reference, Trace, spread
from benchmarks.trainable import Kind
from kdsearch.executors.engine import cores
from kdsearch.mistakes import Mistake

SOONER = 5
QUICK_SECONDS = 180


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another tuner: the module that runs it, the package it needs, its distribution's name."""

    name: str
    module: str
    package: str
    distribution: str

    @property
    def missing(self) -> str | None:
        if importlib.util.find_spec(self.package) is None:
            return f"{self.distribution} is not installed; pip install '.[peers]'"
        return None


PEERS = (
    Peer(
        name="Syne Tune MO-ASHA",
        module="benchmarks.syne_tune_side",
        package="syne_tune",
        distribution="syne-tune",
    ),
    Peer(name="Ray Tune OptunaSearch", module="benchmarks.ray_side", package="ray", distribution="ray"),
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = options(__doc__)
    parser.add_argument("--teacher", choices=list(vanilla.RACES), default="small")
    parser.add_argument("--weights", type=Path, help="the teacher's, safetensors (default: trained once)")
    parser.add_argument("--data", metavar="DIR", help="MNIST's IDX files (default: KDSEARCH_DATA)")
    parser.add_argument("--seconds", type=float, help="that each has (600; quick: 180)")
    parser.add_argument("--repeats", type=int, help="each with its own seed (3; quick: 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what is measured here, and go on from it")
    arguments = parser.parse_args(argv)
    try:
        sides.settle(arguments.teacher, arguments.data)
        with ExitStack() as stack:
            folder = arguments.keep
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kdsearch-peers-")))
            folder = folder.resolve() / arguments.teacher
            folder.mkdir(parents=True, exist_ok=True)
            found = measure(arguments, folder)
        return finish(found, as_json=arguments.json)
    except Mistake as mistake:
        print(mistake, file=sys.stderr)
        return 2


def measure(arguments: argparse.Namespace, folder: Path) -> list[Figure]:
    known = vanilla.RECORDED / f"teacher-{arguments.teacher}.safetensors"
    given = arguments.weights or (known if arguments.quick and known.exists() else None)
    weights = sides.teacher_weights(given, folder / "teacher.safetensors")
    seconds = arguments.seconds or (QUICK_SECONDS if arguments.quick else 600)
    repeats = arguments.repeats or (1 if arguments.quick else 3)
    zero = sides.reference()
    kinds: tuple[Kind, ...] = ("plain",) if arguments.quick else ("plain", "advance")
    able = [peer for peer in PEERS if peer.missing is None]
    tuned = {
        (peer.name, kind): [tune(peer, kind, weights, seconds, seed, folder) for seed in range(repeats)]
        for peer in able
        for kind in kinds
    }
    level = max((timeline.hypervolume(run, zero) for runs in tuned.values() for run in runs), default=math.inf)
    if level <= 0:
        raise Mistake(f"the peers measured no student better than guessing in {seconds:g} s; give them more --seconds")

    def enough(trace: Trace) -> bool:
        return timeline.hypervolume(trace, zero) >= level

    ours = []
    if able:
        ours = [sides.kdsearch(weights, seed, folder, enough, seconds).trace for seed in range(repeats)]
    return [*figures(tuned, ours, zero), *[skipped(peer) for peer in PEERS if peer not in able]]


def skipped(peer: Peer) -> Figure:
    return Figure(name=f"{peer.name}: skipped, {peer.missing}", value=math.nan)


def figures(tuned: dict[tuple[str, Kind], list[Trace]], ours: Sequence[Trace], zero: Reference) -> list[Figure]:
    """The target holds for the plain loop's training; where the peers run kdsearch's own it is report only."""
    found = []
    for (name, kind), runs in tuned.items():
        label = f"{name}, {'live teacher' if kind == 'plain' else 'kdsearch.advance'}"
        found += spread(f"{label}: hypervolume in the end", [timeline.hypervolume(run, zero) for run in runs])
        found += spread(f"{label}: students measured", [len(run) for run in runs])
        found += spread(f"{label}: of them trained in full", [sum(one.full for one in run) for run in runs])
    target: float | None = SOONER
    for kind in ("plain", "advance"):
        races = [[runs[seed] for (_, k), runs in tuned.items() if k == kind] for seed in range(len(ours))]
        timed = [race(theirs, our, zero) for theirs, our in zip(races, ours, strict=True) if any(theirs)]
        if timed:
            what = "the best of them" if kind == "plain" else "the best of them with kdsearch.advance"
            found += spread(f"{what}: seconds to its hypervolume", [slow for slow, _ in timed])
            found += spread(f"kdsearch: seconds to what {what} has", [fast for _, fast in timed])
            found += spread(f"times sooner than {what}", [timeline.ratio(*pair) for pair in timed], target)
        target = None
    return found


def race(theirs: Sequence[Trace], ours: Trace, zero: Reference) -> tuple[float, float]:
    """Seconds of the soonest of `theirs`, and of `ours`, to the most that any of `theirs` has in the end."""
    level = max(timeline.hypervolume(run, zero) for run in theirs)
    return min(timeline.seconds_to(run, zero, level) for run in theirs), timeline.seconds_to(ours, zero, level)


def tune(peer: Peer, kind: Kind, weights: Path, seconds: float, seed: int, folder: Path) -> Trace:
    """The peer's trace; its seconds count from the start of its process, as kdsearch's do."""
    label = f"{peer.package}-{kind}-{seed}"
    kept = folder / f"{label}.jsonl"
    if not kept.exists():
        say(f"{peer.name} {importlib.metadata.version(peer.distribution)}, {kind}, seed {seed}: {seconds:.0f} s")
        part = kept.with_suffix(".part")
        part.unlink(missing_ok=True)
        part.touch()
        private = folder / f"{label}-workspace"
        shutil.rmtree(private, ignore_errors=True)
        private.mkdir()
        began = time.time()
        extra = {
            "KDSEARCH_BENCHMARK_TEACHER": str(weights),
            "KDSEARCH_BENCHMARK_SEED": str(seed),
            "KDSEARCH_BENCHMARK_KIND": kind,
            "KDSEARCH_BENCHMARK_BEGAN": str(began),
            "KDSEARCH_BENCHMARK_TRACE": str(part),
            "KDSEARCH_WORKSPACE": str(private),
            "SYNETUNE_FOLDER": str(private),
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
        }
        asked = ["--seconds", seconds, "--seed", seed, "--workers", cores()]
        if peer.package == "ray":
            asked += ["--folder", private]
        sides.watch([peer.module, *asked], folder / f"{label}.log", seconds + 120, extra=extra)
        part.replace(kept)
        shutil.rmtree(private, ignore_errors=True)  # what is still ending may write there
    return timeline.until(timeline.read(kept), seconds)


if __name__ == "__main__":
    sys.exit(main())
