"""A sampler for searches in which all but accuracy is known before training.

For each proposal the study's space is run some hundred times: on uniform draws, on mutations of the front's members and
then on mutations of the best of these, so that conditions hold and every candidate's size is exact. Of those that can
work and are new, the one with the largest expected gain in hypervolume is proposed (`gain.py`), by a Gaussian process
over parameters and log10 size (`belief.py`); macs were found to add nothing to it beside these. The first trials are
spread over the sizes instead.

A proposal depends on the study's seed, the trial's number and the history alone. Long histories are used in part (the
front, the latest, and some of the rest that are spread over sizes), since a process costs the cube of its trials.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import TrialState

from kdsearch.belief import Belief
from kdsearch.features import Features
from kdsearch.history import Tried, front
from kdsearch.outlook import Outlook
from kdsearch.pool import Choice, Pool, Sketch
from kdsearch.recipe import Recipe
from kdsearch.screening import Candidate, Screen
from kdsearch.seeds import derive
from kdsearch.space import RecordingTrial
from kdsearch.study import OBJECTIVES, Study

Array = NDArray[np.float64]

_SPREAD = (0.5, 0.0, 0.25)
"""The first trials' places between the smallest and the largest size (log10 parameters) that can count."""
_NEAR = 5
_UNIFORM, _MUTANTS, _REFINED = 60, 80, 60
_BEST = 6
"""Candidates whose mutations are the last part of the pool."""
_MOST, _LATEST = 300, 100
"""Trials that a long history is cut down to, and how many of these are its latest."""
_GROWTH = 1.25
"""The scales are fitted anew when the complete trials are this many times those of the last fit."""


class SizeAware:
    """Proposes for one study. `reference` is the hypervolume's: an accuracy, and the teacher's parameters."""

    def __init__(
        self, study: Study, screen: Screen, reference: Mapping[str, float], tell: Callable[[str], None]
    ) -> None:
        self._study = study
        self._screen = screen
        self._reference = reference
        self._tell = tell
        self._features = Features(study.space)
        self._rows: dict[int, Array] = {}
        self._fitted: dict[str, tuple[bytes, Belief]] = {}
        self._warned = False
        self._needs_all = any(OBJECTIVES[name].known and name != "parameters" for name in study.objectives)

    def ask(
        self, number: int, history: Sequence[Tried], seen: set[str], fixed: Mapping[str, Any] | None = None
    ) -> Choice | None:
        """A choice for trial `number` whose recipe is not in `seen`, with the parameters `fixed` where the space has
        them; None where there is none.

        Raises `BrokenSpaceError` where there is none and the space is wrong on some.
        """
        pool = Pool(self._study, self._sketch, self._judge(seen), number, fixed or {})
        choice = self._chosen(pool, number, [trial for trial in history if trial.trained])
        if pool.broken is not None and not self._warned:
            self._warned = True
            self._tell(f"recipes that the space is wrong on are left out; the first because: {pool.broken}")
        return choice

    def _chosen(self, pool: Pool, number: int, trained: list[Tried]) -> Choice | None:
        pool.uniform(_UNIFORM)
        if sum(trial.state == TrialState.COMPLETE for trial in trained) < 2 or len(trained) < len(_SPREAD):
            return pool.best(lambda sketches: self._spread(sketches, trained))
        trained = self._part(trained)
        outlook = Outlook(self._study.objectives, self._reference, trained, self._table(trained))
        outlook.believe(self._fit)

        def gains(sketches: Sequence[Sketch]) -> Array:
            rows = np.array([sketch.row for sketch in sketches])
            return outlook.gains(rows, [s.known for s in sketches], derive(self._study.seed, "gain", number))

        pool.mutants([trial.params for trial in front(trained, self._study.objectives)], _MUTANTS)
        pool.mutants([choice.sketch.trial.params for choice in islice(pool.ranked(gains), _BEST)], _REFINED)
        return pool.best(gains)

    def _judge(self, seen: set[str]) -> Callable[[Sketch], Candidate | None]:
        """The candidate of a sketch that can work and is new."""

        def judge(sketch: Sketch) -> Candidate | None:
            candidate = self._screen(sketch.recipe)
            new = candidate.reason is None and candidate.recipe.fingerprint() not in seen
            return candidate if new else None

        return judge

    def _sketch(self, recipe: Recipe, trial: RecordingTrial) -> Sketch:
        parameters = self._screen.parameters(recipe.student)
        known: Mapping[str, float] = {"parameters": parameters}
        if self._needs_all:
            known = self._screen.known(Candidate(recipe=recipe, parameters=parameters, excess=0, reason=None))
        return Sketch(recipe=recipe, trial=trial, known=known, row=self._row(trial.params, parameters))

    def _spread(self, sketches: Sequence[Sketch], trained: Sequence[Tried]) -> Array:
        """Highest for the one, of the few whose size is nearest to the place of this trial, least like what was tried;
        below these by size.
        """
        sizes = np.log10([max(1, sketch.known["parameters"]) for sketch in sketches])
        counting = sizes[sizes < np.log10(self._reference.get("parameters", np.inf))]
        low, high = (counting if len(counting) else sizes).min(), (counting if len(counting) else sizes).max()
        target = low + _SPREAD[len(trained) % len(_SPREAD)] * (high - low)
        scores = -np.abs(sizes - target)
        if trained:
            near = np.argsort(-scores, kind="stable")[:_NEAR]
            rows = np.array([sketches[at].row for at in near])
            scores[near] = np.abs(rows[:, None, :] - self._table(trained)[None, :, :]).sum(axis=2).min(axis=1)
        ranked: Array = scores
        return ranked

    def _table(self, trials: Sequence[Tried]) -> Array:
        for trial in trials:
            if trial.number not in self._rows:
                self._rows[trial.number] = self._row(trial.params, trial.known["parameters"])
        return np.array([self._rows[trial.number] for trial in trials])

    def _row(self, params: Mapping[str, Any], parameters: float) -> Array:
        return np.append(self._features(params), np.log10(max(1.0, parameters)))

    def _fit(self, name: str, features_NF: Array, values_N: Array) -> Belief:
        """A belief fitted to the first trials, as many as the schedule says, so that proposals between two fits are
        cheap and a continued study fits to the same.
        """
        first = 2
        while (more := int(first * _GROWTH) + 1) <= len(values_N):
            first = more
        key = features_NF[:first].tobytes() + values_N[:first].tobytes()
        if name not in self._fitted or self._fitted[name][0] != key:
            self._fitted[name] = key, Belief(features_NF[:first], values_N[:first])
        return self._fitted[name][1]

    def _part(self, trained: list[Tried]) -> list[Tried]:
        """`trained`, or the part of it that a process can be made from in time."""
        if len(trained) <= _MOST:
            return trained
        kept = {trial.number for trial in [*front(trained, self._study.objectives), *trained[-_LATEST:]]}
        rest = sorted((t for t in trained if t.number not in kept), key=lambda t: (t.known["parameters"], t.number))
        places = np.linspace(0, len(rest) - 1, max(0, _MOST - len(kept))).round().astype(int)
        kept |= {rest[place].number for place in places}
        self._tell(
            f"from {_MOST} trials on the sampler learns from the front, the latest {_LATEST} and a spread of the rest"
        )
        return [trial for trial in trained if trial.number in kept]
