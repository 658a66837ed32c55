"""How much sooner than a plain Optuna loop does kdsearch have what that loop has in the end?

MNIST, 10,000 training images, a teacher of 112,106 weights (10 minutes) or 1 million (30 minutes). Both sides search
benchmarks/mnist_space.py with the same teacher's weights. kdsearch's seconds count from the start of its process to a
trial's completion in the database, with imports, data and teacher signals; the plain loop's only from its first trial.

    python -m benchmarks.vanilla --data DIR                  about 45 minutes; --teacher large: 2 hours
    python -m benchmarks.vanilla --data DIR --quick          against a recorded trace of the plain loop
    python -m benchmarks.vanilla --data DIR --keep runs/race what is measured is kept, and not measured again
    python -m benchmarks.vanilla --data DIR --floor --reference VANILLA.py    is our plain loop slower than that one?
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmarks import floor, sides, timeline
from benchmarks.common import Figure, finish, options, say
from benchmarks.sides import Run
from benchmarks.timeline import Reference, Trace, spread
from kdsearch.mistakes import Mistake

RECORDED = Path(__file__).with_name("traces")
QUICK_SECONDS = 150  # the longest that one of three runs of kdsearch may take
MORE_TRIALS = 16  # after this many, trials per hour and shares mean something


@dataclass(frozen=True, kw_only=True)
class Race:
    """How long the plain loop has, and what kdsearch is to reach."""

    seconds: float
    sooner: float
    beyond: float
    throughput: float


RACES = {
    "small": Race(seconds=600, sooner=6, beyond=10, throughput=4),
    "large": Race(seconds=1800, sooner=15, beyond=40, throughput=12),
}
STUDENT_SHARE = 0.85


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        if arguments.floor:
            arguments.teacher = "small"  # the reference's own
        sides.settle(arguments.teacher, arguments.data)
        with ExitStack() as stack:
            folder = arguments.keep
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kdsearch-vanilla-")))
            folder = folder.resolve() / arguments.teacher
            folder.mkdir(parents=True, exist_ok=True)
            if arguments.floor:
                figures = floor.figures(arguments.reference, folder)
            else:
                figures = measure(arguments, RACES[arguments.teacher], folder)
        return finish(figures, as_json=arguments.json)
    except Mistake as mistake:
        print(mistake, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = options(__doc__)
    parser.add_argument("--teacher", choices=list(RACES), default="small")
    parser.add_argument("--weights", type=Path, help="the teacher's, safetensors (default: trained once)")
    parser.add_argument("--data", metavar="DIR", help="MNIST's IDX files (default: KDSEARCH_DATA)")
    parser.add_argument("--seconds", type=float, help="that the plain loop has (600, large: 1,800)")
    parser.add_argument("--repeats", type=int, default=3, help="of the plain loop, each with its own seed")
    parser.add_argument("--seeds", type=int, nargs="+", help="of kdsearch (default: 0 to 4; quick: 0 to 2)")
    parser.add_argument("--trace", type=Path, nargs="+", metavar="FILE", help="recorded traces of the plain loop")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what is measured here, and go on from it")
    parser.add_argument("--floor", action="store_true", help="time the plain loop beside --reference instead")
    parser.add_argument("--reference", type=Path, metavar="VANILLA.py", help="another plain loop, for --floor")
    return parser


def measure(arguments: argparse.Namespace, race: Race, folder: Path) -> list[Figure]:
    recorded = arguments.trace or (_recorded(arguments.teacher) if arguments.quick else None)
    known = RECORDED / f"teacher-{arguments.teacher}.safetensors"
    given = arguments.weights or (known if recorded and known.exists() else None)
    weights = sides.teacher_weights(given, folder / "teacher.safetensors")
    seconds = arguments.seconds or race.seconds
    if recorded:
        loops = [timeline.until(timeline.read(path), seconds) for path in recorded]
        say(f"plain loop: {len(loops)} recorded traces")
    else:
        loops = [sides.plain(weights, seconds, seed, folder) for seed in range(arguments.repeats)]
    if not all(loops):
        raise Mistake(f"the plain loop finished no trial in {seconds:g} s; give it more --seconds")
    zero = sides.reference()
    level = max(timeline.hypervolume(loop, zero) for loop in loops)

    def enough(trace: Trace) -> bool:
        return len(trace) >= MORE_TRIALS and timeline.hypervolume(trace, zero) >= level

    limit = min(seconds, QUICK_SECONDS) if arguments.quick else seconds
    seeds = arguments.seeds or range(3 if arguments.quick else 5)
    runs = [sides.kdsearch(weights, seed, folder, enough, limit) for seed in seeds]
    return figures(loops, runs, zero, race, seconds, "plain loop (recorded)" if recorded else "plain loop")


def _recorded(teacher: str) -> list[Path]:
    found = sorted(RECORDED.glob(f"plain-{teacher}-*.jsonl"))
    if not found:
        raise Mistake(f"no recorded trace of the plain loop in {RECORDED}; give one by --trace, or leave --quick out")
    return found


def figures(
    loops: Sequence[Trace], runs: Sequence[Run], zero: Reference, race: Race, seconds: float, plain: str
) -> list[Figure]:
    """Every run of kdsearch against every trace of the plain loop, which has its hypervolume after `seconds`."""
    at = {name: [until_level(loop, run, zero, seconds * part) for loop, run in product(loops, runs)]
          for name, part in (("all", 1.0), ("half", 0.5))}  # fmt: skip
    rates = [timeline.full_per_hour(loop) for loop in loops]
    ours = [timeline.full_per_hour(run.trace, run.search_began) for run in runs]
    sooner = [timeline.ratio(slow, fast) for slow, fast in at["all"]]
    final = [timeline.hypervolume(loop, zero) for loop in loops]
    return [
        *spread(f"{plain}: hypervolume in the end", final),
        *spread(f"{plain}: seconds to it", sorted({slow for slow, _ in at["all"]})),
        *spread("kdsearch: seconds to it", [fast for _, fast in at["all"]]),
        *spread("times sooner", sooner, race.sooner),
        *spread("times sooner, beyond the target", sooner, race.beyond)[:1],
        *spread("times sooner than all the loop's time", [timeline.ratio(seconds, fast) for _, fast in at["all"]]),
        *spread("times sooner to what it has at half time", [timeline.ratio(*pair) for pair in at["half"]]),
        *spread(f"{plain}: full trials an hour", rates),
        *spread("kdsearch: full trials an hour", ours),
        *spread("times the full trials an hour", [our / rate for our, rate in product(ours, rates)], race.throughput),
        *spread(
            "kdsearch: share of workers' time in student steps", [run.student_share for run in runs], STUDENT_SHARE
        ),
    ]


def until_level(loop: Trace, run: Run, zero: Reference, seconds: float) -> tuple[float, float]:
    """Seconds of either side to the hypervolume that the plain loop has after `seconds`."""
    level = timeline.hypervolume(timeline.until(loop, seconds), zero)
    return timeline.seconds_to(loop, zero, level), timeline.seconds_to(run.trace, zero, level)


if __name__ == "__main__":
    sys.exit(main())
