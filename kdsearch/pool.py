"""Candidates for one proposal: runs of the study's space, on uniform draws and on mutations of what did well."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

from kdsearch.mistakes import Mistake
from kdsearch.recipe import Recipe
from kdsearch.screening import Candidate
from kdsearch.seeds import derive
from kdsearch.space import Choose, RecordingTrial, Scalar, draw, mutated, recipe_of
from kdsearch.study import Study

Array = NDArray[np.float64]

_DRAWS = 500
"""Draws after which a space with nothing new counts as exhausted."""


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A run of the space: the recipe as the space gave it, with the figures of it that a gain depends on,
    and what a model sees of it."""

    recipe: Recipe
    trial: RecordingTrial
    known: Mapping[str, float]
    row: Array


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A sketch that can work and is new."""

    sketch: Sketch
    candidate: Candidate


class BrokenSpaceError(Exception):
    """The space, or its student, is wrong on all candidates, on these parameters among them."""

    def __init__(self, trial: RecordingTrial, mistake: Mistake) -> None:
        super().__init__(str(mistake))
        self.params = trial.params
        self.distributions = trial.distributions
        self.mistake = mistake


class Pool:
    """Sketches for one proposal. Only those that are about to be proposed are judged: that costs a forward pass."""

    def __init__(
        self,
        study: Study,
        sketch: Callable[[Recipe, RecordingTrial], Sketch],
        judge: Callable[[Sketch], Candidate | None],
        number: int,
        fixed: Mapping[str, Any],
    ) -> None:
        self._study = study
        self._sketch = sketch
        self._judge = judge
        self._number = number
        self._fixed = fixed
        self._sketches: list[Sketch] = []
        self._ran = 0
        self.broken: BrokenSpaceError | None = None

    def uniform(self, draws: int) -> None:
        for seed in self._seeds(draws):
            self._add(draw(seed))

    def mutants(self, sources: Sequence[Mapping[str, Any]], mutants: int) -> None:
        """So many in all, of each in turn."""
        if sources:
            for seed in self._seeds(mutants):
                self._add(mutated(sources[self._ran % len(sources)], seed))

    def ranked(self, score: Callable[[Sequence[Sketch]], Array]) -> Iterator[Choice]:
        """Those that can work and are new, the highest score first."""
        if not self._sketches:
            return
        for place in np.argsort(-score(self._sketches), kind="stable"):
            sketch = self._sketches[place]
            try:
                candidate = self._judge(sketch)
            except Mistake as mistake:
                self.broken = self.broken or BrokenSpaceError(sketch.trial, mistake)
                continue
            if candidate is not None:
                yield Choice(sketch=sketch, candidate=candidate)

    def best(self, score: Callable[[Sequence[Sketch]], Array]) -> Choice | None:
        """The first of `ranked`; where there is none, of many more draws.

        Raises `BrokenSpaceError` where there is still none, and the space was wrong on some.
        """
        found = next(self.ranked(score), None)
        if found is None:
            self.uniform(_DRAWS)
            found = next(self.ranked(score), None)
        if found is None and self.broken is not None:
            raise self.broken
        return found

    def _seeds(self, count: int) -> Iterator[int]:
        for _ in range(count):
            self._ran += 1
            yield derive(self._study.seed, "candidate", self._number, self._ran)

    def _add(self, otherwise: Choose) -> None:
        def choose(name: str, distribution: BaseDistribution) -> Scalar:
            return self._fixed[name] if name in self._fixed else otherwise(name, distribution)

        trial = RecordingTrial(choose)
        try:
            sketch = self._sketch(recipe_of(self._study.space, trial), trial)
        except Mistake as mistake:
            self.broken = self.broken or BrokenSpaceError(trial, mistake)
            return
        limit = self._study.max_parameters
        if limit is None or sketch.known["parameters"] <= limit:
            self._sketches.append(sketch)
