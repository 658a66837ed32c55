"""What every benchmark shares: its options, its figures beside their targets, its exit status."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value beside its target; `holds` is None where no target is set.

    What could not be measured, or never came, is NaN or infinite: "-" in the table, null in JSON.
    """

    name: str
    value: float
    target: str = ""
    holds: bool | None = None


def at_least(name: str, value: float, target: float) -> Figure:
    return Figure(name=name, value=value, target=f">= {target:g}", holds=bool(value >= target))


def at_most(name: str, value: float, target: float) -> Figure:
    return Figure(name=name, value=value, target=f"<= {target:g}", holds=bool(value <= target))


def options(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print a list of {name, value, target, holds} alone")
    parser.add_argument("--quick", action="store_true", help="at most 10 minutes: fewer seeds or repeats")
    return parser


def finish(figures: Sequence[Figure], *, as_json: bool) -> int:
    """Print the figures as one table, or as JSON; gives the exit status: 0 where every target holds."""
    if as_json:
        known = [{**asdict(figure), "value": _finite(figure.value)} for figure in figures]
        print(json.dumps(known, indent=1))
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("figure", "value", "target", ""):
            table.add_column(heading, justify="right" if heading == "value" else "left")
        for figure in figures:
            verdict = "" if figure.holds is None else "holds" if figure.holds else "MISSED"
            shown = "-" if _finite(figure.value) is None else f"{figure.value:.4g}"
            table.add_row(figure.name, shown, figure.target, verdict)
        Console(width=None if sys.stdout.isatty() else 140).print(table)
    return 0 if all(figure.holds is not False for figure in figures) else 1


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean, lower and upper bound of its confidence interval (Student's t over the values, which are seeds)."""
    mean = float(np.mean(values))
    if len(values) < 2 or float(np.ptp(values)) == 0:
        return mean, mean, mean
    low, high = stats.t.interval(confidence, len(values) - 1, loc=mean, scale=stats.sem(values))
    return mean, float(low), float(high)


def say(text: str) -> None:
    """Progress of a long measurement, beside what is printed as its result."""
    print(text, file=sys.stderr, flush=True)
