"""What is known of a recipe before any training: its layers by name, its size, and whether it can work at all."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optuna.distributions import BaseDistribution
from torch import nn

from kdsearch import metrics
from kdsearch.mistakes import Mistake, user_code
from kdsearch.recipe import Recipe
from kdsearch.space import draw, merge_distributions, run_space
from kdsearch.stages import Hints, ImpossibleError
from kdsearch.students.base import on_meta
from kdsearch.study import Study

_DRAWS = 64
_MOST_DRAWS = 512
"""Where none of the first draws can work: a tight limit may leave one recipe in a hundred."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A recipe whose hint layers are named, with the student's exact number of `parameters`.

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

    def __call__(self, recipe: Recipe) -> Candidate:
        """Locate, count and judge `recipe`. Raises `Mistake` for a layer, member or input shape that does not exist."""
        self._check(recipe)
        with user_code(f"{type(recipe.student).__name__}.build()"):
            student = on_meta(recipe.student, self._in_shape, self._classes)
        reasons = []
        if isinstance(recipe.start, Hints):
            if not 0 <= recipe.start.member < len(self._teachers):
                raise Mistake(
                    f"hints from ensemble member {recipe.start.member}, but the teacher has {len(self._teachers)} "
                    "(counted from 0)"
                )
            teacher = self._teachers[recipe.start.member]
            hints = recipe.start.located(student, teacher)
            recipe = dataclasses.replace(recipe, start=hints)
            try:
                hints.check(student, teacher, self._in_shape, self._study.max_regressor_macs)
            except ImpossibleError as error:
                reasons.append(str(error))
        parameters = metrics.parameters(student)
        limit = self._study.max_parameters
        excess = parameters - limit if limit is not None else 0
        if excess > 0:
            reasons.insert(0, f"{parameters:,} parameters are above the study's limit of {limit:,} (max_parameters)")
        return Candidate(recipe=recipe, parameters=parameters, excess=excess, reason="; ".join(reasons) or None)

    def known(self, candidate: Candidate) -> dict[str, float]:
        """The objectives that need no training, by name: parameters, macs and size_kb; parameters alone where the
        candidate cannot be trained anyway.
        """
        if candidate.reason is not None:
            return {"parameters": candidate.parameters}
        chosen = candidate.recipe.student
        student = on_meta(chosen, self._in_shape, self._classes)
        with user_code(f"{type(chosen).__name__}'s forward pass"):
            try:
                macs = metrics.macs(student, self._in_shape)
            except (RuntimeError, NotImplementedError):
                # a forward pass that looks at values cannot be followed without them
                macs = metrics.macs(chosen.build(self._in_shape, self._classes), self._in_shape)
        return {"parameters": candidate.parameters, "macs": macs, "size_kb": metrics.size_kb(student)}


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
