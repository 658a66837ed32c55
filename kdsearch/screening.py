"""What is known of a recipe before any training: its layers by name, its size, and whether it can work at all."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optuna.distributions import BaseDistribution
from torch import nn

from kdsearch import metrics
from kdsearch.mistakes import Mistake, user_code
from kdsearch.plain import as_json, is_whole
from kdsearch.recipe import Recipe
from kdsearch.space import draw, merge_distributions, run_space
from kdsearch.stages import Distil, Hints, ImpossibleError, Joined
from kdsearch.students.base import Student, on_meta
from kdsearch.study import Study

_DRAWS = 64
_MOST_DRAWS = 512
"""Where none of the first draws can work: a tight limit may leave one recipe in a hundred."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A recipe whose joined layers are named, with the student's exact number of `parameters`.

    `excess` is the number of parameters above the study's limit, at most 0 where it holds; `reason` is why the recipe
    cannot be trained, None where it can.
    """

    recipe: Recipe
    parameters: int
    excess: int
    reason: str | None


class Screen:
    """Judges recipes against one study's data shape, teacher and limits. `teachers` are the ensemble's members; `check`
    raises `Mistake` for a recipe that does not fit the data.

    What it builds a network for (milliseconds) is kept by student, and by student and joined layers.
    """

    def __init__(
        self,
        study: Study,
        in_shape: tuple[int, ...],
        classes: int,
        teachers: Sequence[nn.Module],
        check: Callable[[Recipe], None] = lambda recipe: None,
    ) -> None:
        self._study = study
        self._in_shape = in_shape
        self._classes = classes
        self._teachers = teachers
        self._check = check
        self._sizes: dict[str, int] = {}
        self._figures: dict[str, dict[str, float]] = {}
        self._pairs: dict[str, tuple[Joined, str | None]] = {}

    def __call__(self, recipe: Recipe) -> Candidate:
        """Locate, count and judge `recipe`. Raises `Mistake` for a layer, member or input shape that does not exist."""
        self._check(recipe)
        parameters = self.parameters(recipe.student)
        recipe, reasons = self._located(recipe)
        limit = self._study.max_parameters
        excess = parameters - limit if limit is not None else 0
        if excess > 0:
            reasons.insert(0, f"{parameters:,} parameters are above the study's limit of {limit:,} (max_parameters)")
        return Candidate(recipe=recipe, parameters=parameters, excess=excess, reason="; ".join(reasons) or None)

    def parameters(self, student: Student) -> int:
        """The exact size of a student. Raises `Mistake` for an input shape that its family does not take."""
        written = _written(student)
        if written not in self._sizes:
            self._sizes[written] = metrics.parameters(self._meta(student))
        return self._sizes[written]

    def known(self, candidate: Candidate) -> dict[str, float]:
        """The objectives that need no training, by name: parameters, macs and size_kb; parameters alone where the
        candidate cannot be trained anyway.
        """
        if candidate.reason is not None:
            return {"parameters": candidate.parameters}
        written = _written(candidate.recipe.student)
        if written not in self._figures:
            self._figures[written] = self._counted(candidate.recipe.student)
        return {"parameters": candidate.parameters, **self._figures[written]}

    def _meta(self, student: Student) -> nn.Module:
        with user_code(f"{type(student).__name__}.build()"):
            return on_meta(student, self._in_shape, self._classes)

    def _located(self, recipe: Recipe) -> tuple[Recipe, list[str]]:
        """The recipe with the layers of its hints and its attention named, and why these cannot work."""
        reasons: list[str] = []
        if isinstance(recipe.start, Hints):
            hints = self._joined(recipe.student, recipe.start, reasons)
            assert isinstance(hints, Hints)
            recipe = dataclasses.replace(recipe, start=hints)
        if isinstance(recipe.distil, Distil) and recipe.distil.joined is not None:
            attention = self._joined(recipe.student, recipe.distil.joined, reasons)
            distil = dataclasses.replace(
                recipe.distil, teacher_layer=attention.teacher_layer, student_layer=attention.student_layer
            )
            recipe = dataclasses.replace(recipe, distil=distil)
        return recipe, reasons

    def _joined(self, chosen: Student, joined: Joined, reasons: list[str]) -> Joined:
        """The same with its layers named; why they cannot be joined, where they cannot, is added to `reasons`."""
        key = f"{_written(chosen)} {_written(joined)}"
        if key not in self._pairs:
            self._pairs[key] = self._judged(chosen, joined)
        located, reason = self._pairs[key]
        if reason is not None:
            reasons.append(reason)
        return located

    def _judged(self, chosen: Student, joined: Joined) -> tuple[Joined, str | None]:
        if not is_whole(joined.member) or not 0 <= joined.member < len(self._teachers):
            raise Mistake(
                f"hints from ensemble member {joined.member!r}, but the teacher has {len(self._teachers)} "
                "(counted from 0)"
            )
        student, teacher = self._meta(chosen), self._teachers[joined.member]
        located = joined.located(student, teacher)
        try:
            located.check(student, teacher, self._in_shape, self._study.max_regressor_macs)
        except ImpossibleError as error:
            return located, str(error)
        return located, None

    def _counted(self, chosen: Student) -> dict[str, float]:
        student = self._meta(chosen)
        with user_code(f"{type(chosen).__name__}'s forward pass"):
            try:
                macs = metrics.macs(student, self._in_shape)
            except (RuntimeError, NotImplementedError):
                # a forward pass that looks at values cannot be followed without them
                macs = metrics.macs(chosen.build(self._in_shape, self._classes), self._in_shape)
        return {"macs": macs, "size_kb": metrics.size_kb(student)}


def _written(part: object) -> str:
    """What a part of a recipe is known by: samplers ask for hundreds of recipes of few different students."""
    return json.dumps(as_json(part))


def check_space(study: Study, screen: Screen, possible: int = 0) -> None:
    """Run the space on random draws before anything is trained, so that mistakes in it are found at once.

    Raises `Mistake` for the first mistake, for a parameter name with two distributions, and where not one of the
    recipes can work, each reason once. `possible` recipes are known to work already.
    """
    known: dict[str, BaseDistribution] = {}
    reasons: dict[str, None] = {}
    sizes: list[int] = []
    for number in range(_MOST_DRAWS):
        if number >= _DRAWS and possible:
            break
        recipe, trial = run_space(study.space, draw(number))
        merge_distributions(known, trial.distributions)
        candidate = screen(recipe)
        if candidate.reason is None:
            possible += 1
        elif candidate.excess > 0:
            sizes.append(candidate.parameters)
        else:
            reasons[candidate.reason] = None
    if possible:
        return
    listed = list(reasons)
    if sizes:
        span = f"{min(sizes):,} to {max(sizes):,}"
        listed.insert(0, f"{span} parameters are above the study's limit of {study.max_parameters:,} (max_parameters)")
    shown = "\n".join(f"  - {reason}" for reason in listed[:8])
    more = f"\n  - and {len(listed) - 8} more of the kind" if len(listed) > 8 else ""
    raise Mistake(f"none of {_MOST_DRAWS} recipes drawn from the space can work:\n{shown}{more}")
