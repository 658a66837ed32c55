"""What a search had after how many seconds: a trace is its measured students in the order in which they came.

Hypervolume is the study's own: accuracy above guessing times log10 of the parameters below the teacher's.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Figure, at_least
from kdsearch import pareto


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A trained student: `seconds` since its search began, `accuracy` on the whole validation split."""

    seconds: float
    accuracy: float
    parameters: int
    full: bool = True  # trained for all of its epochs, rather than measured on the way


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Where the hypervolume is zero: an accuracy (guessing) and a parameter count (the teacher's)."""

    accuracy: float
    parameters: int


Trace = tuple[Measured, ...]


def trace(lines: Iterable[Mapping[str, Any]]) -> Trace:
    """Lines with at least seconds, accuracy and parameters, as a trace by rising seconds."""
    found = [
        Measured(
            seconds=line["seconds"],
            accuracy=line["accuracy"],
            parameters=line["parameters"],
            full=line.get("full", True),
        )
        for line in lines
    ]
    return tuple(sorted(found, key=lambda measured: measured.seconds))


def read(path: Path) -> Trace:
    """A JSON-lines file as `trace`; a last line that was cut off is left out."""
    text = path.read_text(encoding="utf-8")
    return trace(json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines())


def write(path: Path, given: Trace) -> None:
    path.write_text("".join(json.dumps(asdict(measured)) + "\n" for measured in given), encoding="utf-8")


def until(given: Trace, seconds: float) -> Trace:
    return tuple(measured for measured in given if measured.seconds <= seconds)


def hypervolume(given: Trace, reference: Reference) -> float:
    points = np.array([[-measured.accuracy, math.log10(measured.parameters)] for measured in given]).reshape(-1, 2)
    return pareto.hypervolume(points, np.array([-reference.accuracy, math.log10(reference.parameters)]))


def seconds_to(given: Trace, reference: Reference, level: float) -> float:
    """Seconds until the hypervolume is at least `level`; infinity if it never is, 0.0 for a level of 0 or less."""
    if level <= 0:
        return 0.0
    for count in range(1, len(given) + 1):
        if hypervolume(given[:count], reference) >= level - 1e-12:
            return given[count - 1].seconds
    return math.inf


def full_per_hour(given: Trace, began: float = 0.0) -> float:
    """Full trials an hour from `began` seconds to the last of them; NaN for none."""
    full = [measured for measured in given if measured.full]
    return 3600 * len(full) / (full[-1].seconds - began) if full else math.nan


def ratio(slow: float, fast: float) -> float:
    """How many times sooner `fast` seconds are; 0 where the fast one never came."""
    if math.isinf(fast):
        return 0.0
    return slow / fast if fast > 0 else math.nan


def spread(name: str, values: Sequence[float], target: float | None = None) -> list[Figure]:
    """The median beside its target, the least and the most of the values where there are several."""
    median = statistics.median(values) if values else math.nan
    figures = [Figure(name=name, value=median) if target is None else at_least(name, median, target)]
    if len(values) > 1:
        figures += [Figure(name=f"{name}: {word}", value=pick(values)) for word, pick in (("min", min), ("max", max))]
    return figures
