"""Is our plain loop as quick as another one? Both do the same few trials, in turn, several times over.

Called as `python -m benchmarks.vanilla --floor --reference VANILLA.py`. The other loop must take the options of
`COMMAND`, ask Optuna for depth, width, temperature, alpha and init, and write JSON lines with `seconds` to --out.
As a module of its own (`python -m benchmarks.floor SCRIPT ...`) this runs a loop with Optuna's study replaced by one
that only knows the fixed trials.
"""

import os
import runpy
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from safetensors.torch import save_file

from benchmarks import mnist_space, sides, timeline
from benchmarks.common import Figure, at_most, say
from kdsearch.mistakes import Mistake

EPOCHS = 1
ROUNDS = 3
TRIALS = [
    {"width": width, "depth": depth, "temperature": 4.0, "alpha": 0.5, "start": "none", "init": "none"}
    for width, depth in ((4, 3), (8, 4), (16, 6))
]
TOLERANCE = 1.05


def figures(reference: Path | None, folder: Path) -> list[Figure]:
    """Seconds of the same trials, without start-up and teacher, and their ratio: medians of `ROUNDS` rounds in turn."""
    if reference is None or not reference.is_file():
        raise Mistake(f"--floor needs the script of another plain loop by --reference FILE, got {reference}")
    weights = folder / "untrained.safetensors"  # its values do not change what a step costs
    save_file(mnist_space.teacher(mnist_space.data()).build().state_dict(), weights)
    theirs_weights = folder / "reference-teacher.pt"  # the reference trains its own where there is none
    theirs, ours = [], []
    images = next(Path(os.environ["KDSEARCH_DATA"]).rglob("train-images*"), None)
    if images is None:
        raise Mistake(f"no train-images* in {os.environ['KDSEARCH_DATA']}; name the folder of MNIST's files by --data")
    data = ["--data", images.parent, "--epochs", EPOCHS, "--train", 10_000]
    for number in range(ROUNDS):
        out = folder / f"floor-{number}"
        theirs.append(_seconds([reference.resolve(), "--teacher", theirs_weights, *data], out))
        ours.append(_seconds(["benchmarks.plain", "--teacher", weights], out))
        say(f"round {number + 1}: the reference {theirs[-1]:.1f} s, ours {ours[-1]:.1f} s")
    pairs = [our / their for our, their in zip(ours, theirs, strict=True)]
    return [
        Figure(name="reference: seconds", value=statistics.median(theirs)),
        Figure(name="plain loop: seconds", value=statistics.median(ours)),
        at_most("plain loop's seconds by the reference's", statistics.median(pairs), TOLERANCE),
        Figure(name="plain loop's seconds by the reference's: min", value=min(pairs)),
        Figure(name="plain loop's seconds by the reference's: max", value=max(pairs)),
    ]


def _seconds(command: list[Any], out: Path) -> float:
    out.unlink(missing_ok=True)
    sides.watch(["benchmarks.floor", *command, "--out", out], out.with_suffix(".log"), 1800)
    done = timeline.read(out)
    if len(done) != len(TRIALS):
        raise Mistake(f"{command[0]} wrote {len(done)} of {len(TRIALS)} trials to --out")
    return done[-1].seconds


class Fixed:
    """Stands in for an Optuna study: the same trials for whoever optimizes."""

    trials = best_trials = TRIALS

    def optimize(self, objective: Callable[[optuna.trial.FixedTrial], object], **_: object) -> None:
        for params in TRIALS:
            objective(optuna.trial.FixedTrial(params))


def _run(script: str, arguments: list[str]) -> None:
    mnist_space.EPOCHS = EPOCHS
    optuna.create_study = optuna.study.create_study = lambda **_: Fixed()  # type: ignore[assignment]
    sys.argv = [script, *arguments]
    if script.endswith(".py"):
        runpy.run_path(script, run_name="__main__")
    else:
        runpy.run_module(script, run_name="__main__")


if __name__ == "__main__":
    _run(sys.argv[1], sys.argv[2:])
