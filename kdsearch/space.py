"""Search spaces: functions from a trial to a recipe, and what they may ask of a trial.

A space must be a pure function of what it suggests: then a stored trial is replayed by running it again.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, Protocol

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)

from kdsearch.mistakes import Mistake, user_code
from kdsearch.recipe import Recipe

Scalar = str | int | float | bool | None


class Trial(Protocol):
    """What a space may ask: the suggest methods of an Optuna trial."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


Space = Callable[[Trial], Recipe]
Choose = Callable[[str, BaseDistribution], Scalar]


class RecordingTrial:
    """A trial that asks `choose` for every value, and records names, values and distributions.

    Stricter than Optuna's own, which only warn: a value out of range, one name with two distributions and a choice
    that is no plain scalar raise `Mistake`.
    """

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        with _range(name):
            distribution = FloatDistribution(low, high, log=log, step=step)
        return float(self._suggest(name, distribution))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        with _range(name):
            distribution = IntDistribution(low, high, log=log, step=step)
        return int(self._suggest(name, distribution))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        for choice in choices:
            if not isinstance(choice, (str, int, float, bool, type(None))):
                raise Mistake(
                    f"the choices of {name!r} must be strings, numbers, booleans or None, got {type(choice).__name__}; "
                    "suggest a name and match it in the space"
                )
        with _range(name):
            distribution = CategoricalDistribution(choices)
        return self._suggest(name, distribution)

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        if name in self.params:
            _same(name, self.distributions[name], distribution)
            return self.params[name]
        value = self._choose(name, distribution)
        if not _contains(distribution, value):
            raise Mistake(f"{name}={value!r} is outside of {distribution}; widen the space or change the value")
        self.params[name], self.distributions[name] = value, distribution
        return value


def run_space(space: Space, choose: Choose) -> tuple[Recipe, RecordingTrial]:
    """Run `space` with values from `choose`. Errors in it become one message; anything but a Recipe is a `Mistake`."""
    trial = RecordingTrial(choose)
    return recipe_of(space, trial), trial


def recipe_of(space: Space, trial: RecordingTrial) -> Recipe:
    """`run_space` for a trial that the caller keeps, so that what was suggested before a mistake is known."""
    with user_code("space()"):
        recipe = space(trial)
    if not isinstance(recipe, Recipe):
        raise Mistake(f"space() must return a kdsearch.Recipe, got {type(recipe).__name__}")
    return recipe


def replay(space: Space, params: Mapping[str, Any]) -> tuple[Recipe, RecordingTrial]:
    """The recipe that `params` give, and what was asked for it.

    Raises `Mistake` where a parameter is missing, superfluous or out of range.
    """

    def choose(name: str, _distribution: BaseDistribution) -> Scalar:
        if name not in params:
            raise Mistake(f"the space suggests {name!r}, which the parameters {dict(params)} do not have")
        value: Scalar = params[name]
        return value

    recipe, trial = run_space(space, choose)
    if unused := set(params) - set(trial.params):
        raise Mistake(f"the space never suggests {', '.join(sorted(unused))} with the parameters {dict(params)}")
    return recipe, trial


def check_compatible(stored: Mapping[str, BaseDistribution], now: Mapping[str, BaseDistribution]) -> None:
    """Raise `Mistake` where a sampler could not learn from `stored`: other kinds of distribution, or other choices."""
    for name in stored.keys() & now.keys():
        try:
            check_distribution_compatibility(stored[name], now[name])
        except ValueError:
            raise Mistake(f"the parameter {name!r} was {stored[name]} and is now {now[name]}") from None


def draw(seed: int) -> Choose:
    """Values drawn uniformly (on the log scale where the distribution is), reproducibly."""
    random = Random(seed)  # noqa: S311 - nothing here is a secret
    return lambda _name, distribution: from_unit(distribution, random.random())


def mutated(params: Mapping[str, Any], seed: int, *, step: float = 0.15) -> Choose:
    """Values like `params`, one or two of them changed: a choice to any other, a number by about `step` of its range.

    Which are changed is drawn from `params`; what the space asks for beyond them, since a condition changed, is drawn
    uniformly.
    """
    random = Random(seed)  # noqa: S311 - nothing here is a secret
    changed = set(random.sample(sorted(params), min(len(params), random.choice((1, 1, 2)))))

    def choose(name: str, distribution: BaseDistribution) -> Scalar:
        if name not in params or not _contains(distribution, params[name]):
            return from_unit(distribution, random.random())
        if name not in changed:
            kept: Scalar = params[name]
            return kept
        if isinstance(distribution, CategoricalDistribution):
            others = [choice for choice in distribution.choices if choice != params[name]] or [params[name]]
            chosen: Scalar = random.choice(others)
            return chosen
        unit = abs(to_unit(distribution, params[name]) + random.gauss(0, step)) % 2
        # reflected at the range's ends, where clipping would pile mutants up
        return from_unit(distribution, min(unit, 2 - unit, math.nextafter(1.0, 0.0)))

    return choose


def to_unit(distribution: BaseDistribution, value: Scalar) -> float:
    """Where in [0, 1] a number lies in its distribution's range, on its log scale where it has one."""
    assert isinstance(distribution, (FloatDistribution, IntDistribution)) and isinstance(value, (int, float))
    low, high = distribution.low, distribution.high
    if low == high:
        return 0.0
    return math.log(value / low) / math.log(high / low) if distribution.log else (value - low) / (high - low)


def from_unit(distribution: BaseDistribution, unit: float) -> Scalar:
    """The value at `unit` in [0, 1): the inverse of `to_unit` up to rounding; each choice has an equal share."""
    if isinstance(distribution, CategoricalDistribution):
        chosen: Scalar = distribution.choices[int(unit * len(distribution.choices))]
        return chosen
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high = distribution.low, distribution.high
    if distribution.log:
        value = low * (high / low) ** unit
        return min(round(value) if isinstance(distribution, IntDistribution) else float(value), high)
    if distribution.step is None:
        return low + (high - low) * unit
    steps = int(unit * (round((high - low) / distribution.step) + 1))
    stepped: Scalar = min(high, low + distribution.step * steps)
    return stepped


def merge_distributions(known: dict[str, BaseDistribution], more: Mapping[str, BaseDistribution]) -> None:
    """Add `more` to `known`; a `Mistake` where a name is used with two different distributions."""
    for name, distribution in more.items():
        if name in known:
            _same(name, known[name], distribution)
        known[name] = distribution


def _same(name: str, first: BaseDistribution, second: BaseDistribution) -> None:
    if first != second:
        raise Mistake(
            f"the parameter {name!r} is used with two distributions, {first} and {second}; "
            "give each its own name, or one range that does not depend on other values"
        )


def _contains(distribution: BaseDistribution, value: Scalar) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return any(value == choice and type(value) is type(choice) for choice in distribution.choices)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return bool(distribution._contains(distribution.to_internal_repr(value)))


@contextmanager
def _range(name: str) -> Iterator[None]:
    """Optuna's own complaint about a range, with the parameter's name before it."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise Mistake(f"the range of parameter {name!r}: {error}") from None
