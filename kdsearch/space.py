"""Search spaces: functions from a trial to a recipe, and what they may ask of a trial.

A space must be a pure function of what it suggests: then a stored trial is replayed by running it again.
"""

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
    with user_code("space()"):
        recipe = space(trial)
    if not isinstance(recipe, Recipe):
        raise Mistake(f"space() must return a kdsearch.Recipe, got {type(recipe).__name__}")
    return recipe, trial


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

    def choose(_name: str, distribution: BaseDistribution) -> Scalar:
        if isinstance(distribution, CategoricalDistribution):
            chosen: Scalar = random.choice(distribution.choices)
            return chosen
        if isinstance(distribution, IntDistribution):
            if distribution.log:
                drawn: int = round(distribution.low * (distribution.high / distribution.low) ** random.random())
                return drawn
            return random.randrange(int(distribution.low), int(distribution.high) + 1, int(distribution.step))
        assert isinstance(distribution, FloatDistribution)
        if distribution.step is not None:
            steps = round((distribution.high - distribution.low) / distribution.step)
            return min(distribution.high, distribution.low + distribution.step * random.randint(0, steps))
        if distribution.log:
            return float(distribution.low * (distribution.high / distribution.low) ** random.random())
        return random.uniform(distribution.low, distribution.high)

    return choose


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
