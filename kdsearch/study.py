"""The study: the question a search answers, as one frozen value."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from kdsearch import markup, smoke
from kdsearch.data.base import Data
from kdsearch.mistakes import Mistake
from kdsearch.plain import is_number, is_whole
from kdsearch.recipe import Recipe
from kdsearch.space import Space, Trial
from kdsearch.stages import Start
from kdsearch.stopping import RULES, Rule, check_rungs
from kdsearch.teacher import Teacher, as_teachers
from kdsearch.workspace import OWN_NAMES

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SAMPLERS = ("size_aware", "tpe", "nsga2", "random")
_COUNTS = ("trials", "patience", "total_epochs", "segment_epochs", "max_parameters", "max_regressor_macs")
_AMOUNTS = ("minutes", "signals_gb")
_OPTIONAL = ("patience", "total_epochs", "max_parameters", "minutes")
VARIED = ("start", "layers", "temperature", "alpha")
"""Choices that can be compared without a study's naming recipes for it."""
CONFIRM = "confirm"
"""What the question is called whether front members hold on fresh seeds."""
RESERVED = (CONFIRM, *VARIED)
_LONGEST = 80
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_name(name: object) -> None:
    """Raise `Mistake` for what is no study's name: folders are called by it."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Mistake(
            f"a study's name must be 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit, "
            f"got {name!r}"
        )
    if name.casefold() in OWN_NAMES:
        raise Mistake(f"{name!r} is what a workspace calls a part of its own; give the study another name")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Something a search optimizes. `known` objectives follow from the recipe alone, before any training."""

    name: str
    direction: Literal["maximize", "minimize"]
    known: bool
    unit: str


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective(name="accuracy", direction="maximize", known=False, unit="fraction of the validation split"),
        Objective(name="macro_f1", direction="maximize", known=False, unit="fraction, on the validation split"),
        Objective(name="parameters", direction="minimize", known=True, unit="weights"),
        Objective(name="macs", direction="minimize", known=True, unit="multiply-accumulates an example"),
        Objective(name="size_kb", direction="minimize", known=True, unit="1,000 bytes of weights and buffers"),
        Objective(name="latency_ms", direction="minimize", known=False, unit="milliseconds, one example, one thread"),
    )
}


def signs(objectives: Sequence[str]) -> list[float]:
    """What turns the values of these objectives into ones to be minimized: -1 for those that are maximized."""
    return [-1.0 if OBJECTIVES[name].direction == "maximize" else 1.0 for name in objectives]


@dataclass(frozen=True, kw_only=True)
class Study:
    """What to search, in what, judged by what, for how long.

    `trials` counts distillations (screened proposals are free); `minutes` ends the search sooner, `total_epochs` once
    so many epochs have been trained in all trials together, and `patience` after so many complete trials in a row
    without a gain in hypervolume. `stopping` is a rule of early stopping, or its name in `RULES`; without it every
    trial is a full distillation. `sampler` is "size_aware" (the largest expected gain in hypervolume by one model of
    accuracy: sizes are known before training), "tpe", "nsga2", "random" or any Optuna sampler. `first` are parameters
    that are tried before the sampler's; left out, T=4, alpha=0.9 without a start is tried first wherever the space has
    parameters of those names.
    `max_parameters` and `max_regressor_macs` screen proposals before training. A trial's state is kept every
    `segment_epochs` epochs. The teacher's signals take at most `signals_gb` gigabytes of disk: the least recently used
    features are removed, and hints from a layer whose features would not fit run the teacher. `card` defaults to the
    study file's docstring. A segment that ends no epoch for `stall_minutes` is taken from its worker, which is ended,
    and tried again, twice; 0 has it take as long as it likes.
    `starts` are those that a confirmation compares (None: no start); `comparisons` are recipes by label under names of
    your own, trained on fresh seeds by `kdsearch confirm NAME --compare THEIRS`: the first is what the others are
    compared to.
    """

    name: str
    data: Callable[[], Data]
    teacher: Callable[[Data], Teacher | Sequence[Teacher]]
    space: Space
    objectives: tuple[str, ...] = ("accuracy", "parameters")
    trials: int = 40
    minutes: float | None = None
    sampler: "str | BaseSampler" = "size_aware"
    first: Sequence[Mapping[str, Any]] | None = None
    stopping: str | Rule | None = None
    patience: int | None = None
    total_epochs: int | None = None
    seed: int = 0
    max_parameters: int | None = None
    max_regressor_macs: int = 50_000_000
    segment_epochs: int = 10
    signals_gb: float = 8.0
    stall_minutes: float = 30.0
    starts: Sequence[Start | None] | None = None
    comparisons: Mapping[str, Mapping[str, Recipe]] = field(default_factory=dict)
    card: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_name(self.name)
        for part in ("data", "teacher", "space"):
            if not callable(getattr(self, part)):
                raise Mistake(f"{part} must be a function, got {getattr(self, part)!r}; give {part}, not {part}()")
        named = self.objectives if isinstance(self.objectives, (tuple, list)) else (None,)
        known = all(isinstance(one, str) and one in OBJECTIVES for one in named)
        if not named or not known or len(set(named)) != len(named):
            raise Mistake(f"objectives must be different ones of {', '.join(OBJECTIVES)}, got {self.objectives!r}")
        if isinstance(self.sampler, str) and self.sampler not in SAMPLERS:
            raise Mistake(f"sampler must be one of {', '.join(SAMPLERS)} or an Optuna sampler, got {self.sampler!r}")
        if not is_number(self.stall_minutes) or not 0 <= self.stall_minutes < math.inf:
            raise Mistake(f"stall_minutes must be a number of minutes, or 0 for no limit, got {self.stall_minutes!r}")
        rule_of(self.stopping)
        _check_comparisons(self.comparisons)
        _check_sequences(self.first, self.starts)
        for limit in (*_COUNTS, *_AMOUNTS):
            _check_limit(limit, getattr(self, limit))
        if not is_whole(self.seed):
            raise Mistake(f"seed must be a whole number, got {self.seed!r}")
        if not isinstance(self.card, str):
            raise Mistake(f"card must be text, got {type(self.card).__name__}")

    def described(self) -> dict[str, str]:
        """What is searched, in what and for how long, in words; nothing is loaded or trained for it."""
        limits = {
            "minutes": self.minutes,
            "epochs in all": self.total_epochs,
            "trials without a gain": self.patience,
        }
        ends = [f"{self.trials} trials", *(f"{value:g} {name}" for name, value in limits.items() if value is not None)]
        named = self.stopping if isinstance(self.stopping, str | None) else type(self.stopping).__name__
        return {
            "objectives": ", ".join(f"{name} ({OBJECTIVES[name].direction})" for name in self.objectives),
            "budget": " or ".join(ends),
            "data": _called(self.data),
            "teacher": _called(self.teacher),
            "space": _called(self.space),
            "sampler": self.sampler if isinstance(self.sampler, str) else type(self.sampler).__name__,
            "early stopping": named or "none",
        }

    def __repr__(self) -> str:
        return f"Study({self.name!r}: {'; '.join(f'{name} {said}' for name, said in self.described().items())})"

    def _repr_html_(self) -> str:
        return markup.pairs(f"study {self.name}", self.described()) + markup.paragraph(self.card.split("\n")[0])

    def smoke(self) -> "Study":
        """The same study shrunk to seconds, under the name `NAME-smoke`: few examples, short teachers, two epochs."""
        return dataclasses.replace(
            self,
            name=f"{self.name[:58]}-smoke",
            data=lambda: smoke.fewer(self.data()),
            teacher=lambda data: [smoke.short(teacher) for teacher in as_teachers(self.teacher(data))],
            space=lambda trial: smoke.brief(self.space(trial)),
            starts=[smoke.soon(start) for start in self.starts] if self.starts is not None else None,
            comparisons={
                name: {label: smoke.brief(recipe) for label, recipe in recipes.items()}
                for name, recipes in self.comparisons.items()
            },
            trials=min(self.trials, 4),
        )


def _check_sequences(first: object, starts: object) -> None:
    if first is not None and not (isinstance(first, Sequence) and all(isinstance(params, Mapping) for params in first)):
        raise Mistake(f"first must be a list of parameters by name, such as [{{'width': 4}}], got {first!r}")
    if starts is None:
        return
    if not isinstance(starts, (list, tuple)) or any(
        not isinstance(start, (*get_args(Start), type(None))) for start in starts
    ):
        raise Mistake(f"starts must be Hints, Pretrain or None, in a list, got {starts!r}")


def _check_limit(name: str, value: object) -> None:
    if value is None and name in _OPTIONAL:
        return
    if not is_number(value) or not value > 0 or (name in _COUNTS and not is_whole(value)):
        kind = " and a whole number" if name in _COUNTS else ""
        raise Mistake(f"{name} must be above 0{kind}, got {value!r}")


def _called(function: Callable[..., object]) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return "a function without a name" if name == "<lambda>" else f"{name}()"


def _check_comparisons(comparisons: object) -> None:
    if not isinstance(comparisons, Mapping):
        raise Mistake(f"comparisons must be names with recipes by label, got {type(comparisons).__name__}")
    for name, recipes in comparisons.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in RESERVED:
            raise Mistake(
                f"a comparison's name must be 1 to 64 letters, digits, '.', '_' or '-', and none of "
                f"{', '.join(RESERVED)}, got {name!r}"
            )
        if not isinstance(recipes, Mapping) or len(recipes) < 2:
            raise Mistake(f"the comparison {name!r} must have at least two Recipes by label, got {recipes!r}")
        for label, recipe in recipes.items():
            if not isinstance(label, str) or not 0 < len(label) <= _LONGEST or not label.isprintable():
                raise Mistake(
                    f"the comparison {name!r}: a label must be a line of 1 to {_LONGEST} characters, got {label!r}"
                )
            if not isinstance(recipe, Recipe):
                raise Mistake(f"the comparison {name!r}: {label!r} must be a Recipe, got {type(recipe).__name__}")


def rule_of(stopping: str | Rule | None) -> Rule | None:
    """The rule itself, for a rule or its name; None for None and "none". Raises `Mistake` for an unknown name."""
    if stopping is None or stopping == "none":
        return None
    if isinstance(stopping, str):
        if stopping not in RULES:
            raise Mistake(f"stopping must be none, {', '.join(RULES)} or a rule itself, got {stopping!r}")
        return RULES[stopping]()
    if isinstance(stopping, type):
        raise Mistake(f"stopping must be a rule itself, got the class {stopping.__name__}; write {stopping.__name__}()")
    if not callable(getattr(stopping, "promotable", None)) or not hasattr(stopping, "rungs"):
        raise Mistake(f"stopping must be a rule with rungs and promotable(marks), got {type(stopping).__name__}")
    check_rungs(stopping.rungs)
    return stopping


__all__ = ["OBJECTIVES", "SAMPLERS", "Objective", "Study", "Trial"]
