"""Bad inputs by the thousand: study files, recipes, data, databases, exports, archives and flags, spoiled at random.

    python -m benchmarks.bad_input [--quick] [--json] [--seed N] [--only KIND ...] [--verbose]

Every attempt runs in this process. What is refused is to come with one message and exit status 2; nothing may show a
traceback, and the finished study that lies beside must be as it was, to the byte. Exit status 0: both hold.
"""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from random import Random

from benchmarks import bad_cases
from benchmarks.bad_archives import archive
from benchmarks.bad_files import write_data_files
from benchmarks.bad_ground import Ground, kept_work, lost, made_ground
from benchmarks.common import Figure, at_most, finish, options, say
from kdsearch.prepare import draft
from kdsearch.source import Source
from kdsearch.workspace import Workspace

Maker = Callable[[Random, Path], bad_cases.Attempt]

COUNTS = {
    "study files": 600,
    "recipes": 6000,
    "studies": 1000,
    "data files": 3000,
    "databases": 1000,
    "exports": 1500,
    "recipe files": 500,
    "archives": 300,
    "flags": 1500,
}
QUICK = 10
"""`--quick` does one in so many."""


def main(arguments: list[str] | None = None) -> int:
    parser = options(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=sorted(COUNTS), default=list(COUNTS))
    parser.add_argument("--verbose", action="store_true", help="show every traceback that was found")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kdsearch-bad-") as folder, chdir(folder):
        os.environ["KDSEARCH_CACHE"] = str(Path(folder) / "cache")
        figures = measured(Path(folder), given.seed, given.only, QUICK if given.quick else 1, given.verbose)
    return finish(figures, as_json=given.json)


def measured(folder: Path, seed: int, kinds: list[str], divisor: int, verbose: bool = False) -> list[Figure]:
    """The figures of all `kinds`, each with its count in `COUNTS` divided by `divisor`."""
    say("a study of seconds is searched and exported")
    ground = made_ground(folder)
    before = kept_work(ground)
    found: list[Figure] = []
    tracebacks, gone = 0, set[str]()
    for kind, make in _makers(ground, folder).items():
        if kind not in kinds:
            continue
        ended = _tried(kind, make, COUNTS[kind] // divisor, seed, folder, verbose)
        gone |= set(lost(before, kept_work(ground)))
        tracebacks += ended["traceback"]
        found.append(Figure(name=f"{kind}: cases", value=sum(ended.values())))
        found.append(Figure(name=f"{kind}: refused with one message", value=ended["refused"]))
    for name in sorted(gone):
        say(f"lost: {name}")
    return [*found, at_most("tracebacks shown", tracebacks, 0), at_most("work lost", len(gone), 0)]


def _makers(ground: Ground, folder: Path) -> dict[str, Maker]:
    files = folder / "good files"
    write_data_files(files)
    planned = draft(Source(path=ground.file), Workspace.chosen(folder / "planned"))
    return {
        "study files": lambda random, at: bad_cases.study_file(random, ground, at),
        "recipes": lambda random, _: bad_cases.recipe(random, planned),
        "studies": lambda random, _: bad_cases.study_value(random, planned),
        "data files": lambda random, at: bad_cases.data_file(random, files, at),
        "databases": lambda random, at: bad_cases.database(random, ground, at),
        "exports": lambda random, at: bad_cases.export_folder(random, ground, at),
        "recipe files": lambda random, at: bad_cases.recipe_file(random, ground, at),
        "archives": lambda random, at: archive(random, ground, at),
        "flags": lambda random, at: bad_cases.flags(random, ground, at),
    }


def _tried(kind: str, make: Maker, count: int, seed: int, folder: Path, verbose: bool) -> Counter[str]:
    """How the attempts of one kind ended. Each has a generator of its own, so that one can be repeated alone."""
    ended: Counter[str] = Counter()
    for number in range(count):
        with tempfile.TemporaryDirectory(dir=folder) as at:
            said, attempt = make(Random(f"{seed} {kind} {number}"), Path(at))
            outcome = attempt()
        ended[outcome.ended] += 1
        if outcome.ended == "traceback":
            shown = outcome.said if verbose else outcome.said.strip().split("\n")[-1]
            say(f"{kind} {number}: {said[: 2000 if verbose else 200]!r}\n  {shown}")
    say(f"{kind}: {dict(ended)}")
    return ended


if __name__ == "__main__":
    sys.exit(main())
