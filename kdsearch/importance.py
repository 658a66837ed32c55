"""How much each sampled parameter mattered for accuracy at a given size: Optuna's fANOVA on what size does not explain.

Size buys accuracy, so that width and depth would bury everything else: a smooth curve of accuracy's logit over log10
parameters is taken away first. An importance is a share of the variance of what is left among the trials that have the
parameter, on the trials as the sampler chose them: a hint of where to compare matched pairs, not proof.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from kdsearch.comparable import SizeCurve
from kdsearch.records import TrialRecord
from kdsearch.thinning import evenly

_FEWEST = 10
"""Complete trials below which a forest sees patterns in noise."""
_MOST = 200
"""Trials that a forest is fitted to; evenly over the search where there are more: its time grows with their square."""
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Importance:
    """`share` in [0, 1] of what accuracy at a given size varies among the `trials` that have the parameter, as a forest
    fitted to them sees it. `explained` in [0, 1] is how much of that variance such a forest foretells of trials that
    it was not fitted to, by all parameters together: near 0 the shares are of noise, and no effect is seen.
    """

    parameter: str
    share: float
    trials: int
    explained: float


def importances(records: Sequence[TrialRecord], trials: Sequence[FrozenTrial], *, seed: int = 0) -> list[Importance]:
    """Every sampled parameter, the most important first; none where fewer than ten complete trials have one. Where more
    than 200 have it 200 of them are looked at.

    Parameters of one branch of the space alone are judged among the trials of that branch, beside those that all of
    these have. `trials` are Optuna's of the same numbers as `records`.
    """
    complete = [record for record in records if record.state == "complete"]
    if len(complete) < _FEWEST:
        return []
    left = _unexplained(complete)
    groups: dict[frozenset[int], list[str]] = {}
    for parameter in dict.fromkeys(name for record in complete for name in record.params):
        having = frozenset(record.number for record in complete if parameter in record.params)
        groups.setdefault(having, []).append(parameter)
    found = []
    for having, parameters in groups.items():
        if len(having) >= _FEWEST:
            numbers = sorted(having)
            members = [trials[numbers[place]] for place in evenly(_MOST, len(numbers))]
            shares, explained = _shares(members, left, seed), _explained(members, left, seed)
            found += [
                Importance(parameter=name, share=shares[name], trials=len(members), explained=explained)
                for name in parameters
                if name in shares
            ]
    return sorted(found, key=lambda one: (-one.share, one.parameter))


def _unexplained(complete: Sequence[TrialRecord]) -> dict[int, float]:
    """By trial, the logit of accuracy above what a student of its size has."""
    accuracies = [record.measured["accuracy"] for record in complete]
    sizes = [record.known["parameters"] for record in complete]
    left = SizeCurve.through(accuracies, sizes).beyond(accuracies, sizes)
    return dict(zip((record.number for record in complete), left.tolist(), strict=True))


def _shares(trials: Sequence[FrozenTrial], left: dict[int, float], seed: int) -> dict[str, float]:
    values = [left[trial.number] for trial in trials]
    if max(values) - min(values) < _ROUNDING:
        return {}
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=left[trial.number])
            for trial in trials
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of normalize
        return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed), normalize=False)


def _explained(trials: Sequence[FrozenTrial], left: dict[int, float], seed: int) -> float:
    """Cross-validated share of variance that a forest on the parameters that all of the trials have foretells."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import cross_val_predict

    values = np.array([left[trial.number] for trial in trials])
    common = [name for name in trials[0].params if all(name in trial.params for trial in trials)]
    # a forest asks for order alone: choices by their place, numbers as they are
    columns = [[trial.distributions[name].to_internal_repr(trial.params[name]) for trial in trials] for name in common]
    forest = RandomForestRegressor(n_estimators=64, random_state=seed)
    told = cross_val_predict(forest, np.array(columns).T, values, cv=min(5, len(trials)))
    spread = ((values - values.mean()) ** 2).sum()
    return max(0.0, float(1 - ((values - told) ** 2).sum() / spread)) if spread > _ROUNDING else 0.0
