"""Which students to take away: rules over the front, within limits. All figures are of the validation split."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from kdsearch import pareto
from kdsearch.frame import comparable, plane, points
from kdsearch.mistakes import Mistake
from kdsearch.plain import is_number
from kdsearch.records import StudyFacts

Rule = Literal["knee", "accurate", "smallest"]
RULES: tuple[Rule, ...] = ("knee", "accurate", "smallest")

Measure = Callable[[Sequence[int]], Mapping[int, float]]
"""Measures the latency of these trials' students, one example with one thread; gives milliseconds by trial."""

_EXACT = 1e-9
_LATENCY = "max_latency_ms"
_SAID = {
    "max_parameters": "{:,.0f} parameters",
    "max_drop": "{:.2f} points below the teacher",
    "max_macs": "{:,.0f} macs",
    "max_size_kb": "{:,.4g} kB",
    _LATENCY: "{:.3g} ms",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a student may have at most, None for no limit: weights, percentage points below the teacher (less than 0
    asks for one above it), multiply-accumulates, kilobytes of weights and buffers, milliseconds for one example with
    one thread. Raises `Mistake` for what can be no limit.
    """

    max_parameters: int | None = None
    max_drop: float | None = None
    max_macs: int | None = None
    max_size_kb: float | None = None
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.given.items():
            if not is_number(value) or not math.isfinite(value) or (value <= 0 and name != "max_drop"):
                rule = "a finite number of points" if name == "max_drop" else "a finite number above 0"
                raise Mistake(f"{name} must be {rule}, got {value!r}")

    @property
    def given(self) -> dict[str, float]:
        """The limits that there are, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


NO_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Member:
    """A student on the front. `latency_ms` where it is known."""

    trial: int
    parameters: int
    accuracy: float
    latency_ms: float | None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What `rule` chose and why, and what it would take next: None where there is no other."""

    rule: Rule
    chosen: Member
    why: str
    runner_up: Member | None

    @property
    def trial(self) -> int:
        return self.chosen.trial

    @property
    def beside(self) -> str:
        """How the runner-up differs from the chosen one; empty where there is none."""
        if self.runner_up is None:
            return ""
        more = self.runner_up.parameters - self.chosen.parameters
        better = 100 * (self.runner_up.accuracy - self.chosen.accuracy)
        size = f"{abs(more):,} {'more' if more > 0 else 'fewer'} parameters" if more else "as many parameters"
        accuracy = f"{abs(better):.2f} points {'more' if better > 0 else 'less'} accurate"
        return f"{size}, {accuracy if abs(better) > _EXACT else 'as accurate'}"


def choose(
    table: pd.DataFrame,
    facts: StudyFacts,
    rule: Rule = "knee",
    limits: Limits = NO_LIMITS,
    latency: Measure | None = None,
) -> Choice:
    """What `rule` takes from the front of the trials within the limits.

    `knee` is where the front bends, with errors as well as parameters on a log scale: halving the errors counts alike
    wherever it happens, where plain accuracy would find the knee among students that are barely better than guessing.
    `accurate` is the most accurate, `smallest` the one with the fewest parameters. Latencies that the study did not
    measure are by `latency`, of the students within the other limits. Raises `Mistake`, with how close the nearest
    trial comes, where none is within the limits.
    """
    if rule not in RULES:
        raise Mistake(f"a student is picked by one of {', '.join(RULES)}, got {rule!r}")
    within, measured = _within(table, facts, limits, latency)
    # the front of what is within the limits: a study with further objectives may have its best of two elsewhere
    candidates = within.iloc[pareto.front(plane(within))]
    match rule:
        case "accurate":
            ordered = candidates.sort_values(["accuracy", "parameters"], ascending=[False, True])
        case "smallest":
            ordered = candidates.sort_values(["parameters", "accuracy"], ascending=[True, False])
        case "knee":
            ordered = candidates.iloc[pareto.knees(_errors(candidates, facts))]
    members = [_member(row) for row in ordered.head(2).reset_index().to_dict("records")]
    bent = members[0].accuracy < candidates["accuracy"].max()
    why = _why(rule, len(candidates), bent, bool(limits.given))
    return Choice(
        rule=rule,
        chosen=members[0],
        why=f"{why}; latencies were measured now, on this machine" if measured else why,
        runner_up=members[1] if len(members) > 1 else None,
    )


def pick(table: pd.DataFrame, facts: StudyFacts, rule: Rule = "knee", limits: Limits = NO_LIMITS) -> int:
    """The number of the trial that `choose` takes."""
    return choose(table, facts, rule, limits).trial


def front_within(
    table: pd.DataFrame, facts: StudyFacts, limits: Limits = NO_LIMITS, latency: Measure | None = None
) -> list[int]:
    """The front, by all of the study's objectives, of the trials within the limits, by rising parameters. Raises
    `Mistake` where there are none.
    """
    within = comparable(_within(table, facts, limits, latency)[0], facts)
    members = within.iloc[pareto.front(points(within, facts.objectives))]
    return [int(number) for number in members.sort_values(["parameters", "accuracy"]).index]


def notable(table: pd.DataFrame, facts: StudyFacts) -> list[int]:
    """The at most three trials that a search confirms by itself: knee, most accurate, and the smallest at most one
    point below the teacher, each once; none where no trial is complete.
    """
    if not (table["state"] == "complete").any():
        return []
    found = [pick(table, facts, "knee"), pick(table, facts, "accurate")]
    if (facts.teacher["accuracy"] - table["accuracy"] <= 0.01 + _EXACT).any():
        found.append(pick(table, facts, "smallest", Limits(max_drop=1.0)))
    return list(dict.fromkeys(found))


def _within(
    table: pd.DataFrame, facts: StudyFacts, limits: Limits, latency: Measure | None
) -> tuple[pd.DataFrame, bool]:
    """The complete trials within the limits, and whether latencies had to be measured for it."""
    complete = table[table["state"] == "complete"]
    if complete.empty:
        raise Mistake(f"the study {facts.name!r} has no complete trial to pick from yet")
    if limits.max_drop is not None and math.isnan(facts.teacher["accuracy"]):
        raise Mistake("the teacher's accuracy is not measured yet, so no drop from it is known; run the study again")
    figures = _figures(complete, facts)
    if limits.max_latency_ms is None or figures[_LATENCY].notna().any():
        return complete.loc[_fitting(figures, limits.given, facts)], False
    if latency is None:
        raise Mistake(f"the study {facts.name!r} did not measure latency_ms, so no limit on it can be kept")
    first = _fitting(figures, {name: value for name, value in limits.given.items() if name != _LATENCY}, facts)
    figures = figures.loc[first].assign(**{_LATENCY: pd.Series(latency(first), dtype=float)})
    fitting = _fitting(figures, limits.given, facts)
    return complete.loc[fitting].assign(latency_ms=figures[_LATENCY]), True


def _figures(complete: pd.DataFrame, facts: StudyFacts) -> pd.DataFrame:
    """What each limit is held against, a column by its name; NaN where it is not known."""
    unknown = pd.Series(math.nan, index=complete.index)
    columns = {name: complete.get(name.removeprefix("max_"), unknown).astype(float) for name in _SAID}
    return pd.DataFrame({**columns, "max_drop": 100 * (facts.teacher["accuracy"] - complete["accuracy"])})


def _fitting(figures: pd.DataFrame, given: Mapping[str, float], facts: StudyFacts) -> list[int]:
    """The trials that keep every limit. Raises `Mistake`, naming the nearest, where none does: the one with the least
    sum of shares by which the limits are exceeded, for `max_drop` the share of errors beyond those allowed.
    """
    limits = pd.Series(dict(given), dtype=float)
    known = figures.dropna(subset=list(given))
    if known.empty:
        raise Mistake(f"what {' and '.join(given)} limits is not known of the trials of {facts.name!r}; search it anew")
    fits = (known[list(given)] <= limits + _EXACT).all(axis=1)
    if fits.any():
        return [int(number) for number in known.index[fits]]
    amounts = known[list(given)].copy()
    if "max_drop" in given:
        # a limit of 0 points has no share; errors have, and half an example stands for none
        beyond, half = 1 - facts.teacher["accuracy"], 0.5 / facts.data["validation"]
        amounts["max_drop"] = beyond + amounts["max_drop"] / 100 + half
        limits["max_drop"] = max(beyond + limits["max_drop"] / 100, 0) + half
    excess = (amounts / limits - 1).clip(lower=0).sum(axis=1)
    nearest = known.index[np.lexsort((known["max_drop"], excess))[:1]][0]  # of equally near ones the most accurate
    wanted = " and ".join(f"at most {_SAID[name].format(value)}" for name, value in given.items())
    told = _missed({str(name): value for name, value in known.loc[nearest].items()}, given)
    raise Mistake(f"no trial keeps to {wanted}; the nearest is trial {nearest} with {told}: raise a limit or search on")


def _missed(figures: Mapping[str, float], given: Mapping[str, float]) -> str:
    """A trial's figures, and by how much each misses its limit."""
    told = []
    for name, said in _SAID.items():
        if math.isnan(figures[name]) or name not in (*given, "max_parameters", "max_drop"):
            continue
        over = figures[name] - given.get(name, math.inf)
        amount = said.split(" ")[0].format(over)
        told.append(said.format(figures[name]) + (f" ({amount} over)" if over > _EXACT else ""))
    return ", ".join(told)


def _why(rule: Rule, count: int, bent: bool, limited: bool) -> str:
    among = "the front within the limits" if limited else "the front"
    if count == 1:
        return f"the only student on {among}"
    whole = f"{count} students on {among}"
    match rule:
        case "knee" if bent:
            return f"the knee of {whole}: from here on, smaller ones lose accuracy faster"
        case "smallest":
            return f"the smallest of {whole}"
        case _:
            return f"the most accurate of {whole}" + (", which has no bend and so no knee" if rule == "knee" else "")


def _member(row: Mapping[Hashable, Any]) -> Member:
    latency = float(row.get("latency_ms", math.nan))
    return Member(
        trial=int(row["trial"]),
        parameters=int(row["parameters"]),
        accuracy=float(row["accuracy"]),
        latency_ms=None if math.isnan(latency) else latency,
    )


def _errors(table: pd.DataFrame, facts: StudyFacts) -> pareto.Points:
    """(log10 share of errors, log10 parameters), (N, 2); half an example stands for no error at all."""
    errors = 1 - table["accuracy"].astype(float) + 0.5 / facts.data["validation"]
    return np.column_stack([np.log10(errors), np.log10(table["parameters"].astype(float))])
