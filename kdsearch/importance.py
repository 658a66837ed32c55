"""How much each sampled parameter mattered for accuracy at a given size: Optuna's fANOVA on what size does not explain.

Size buys accuracy, so that width and depth would bury everything else: a smooth curve of accuracy's logit over log10
parameters is taken away first. An importance is a share of the variance of what is left among the trials that have the
parameter, on the trials as the sampler chose them: a hint of where to compare matched pairs, not proof.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from kdsearch.store import TrialRecord

_FEWEST = 10
"""Complete trials below which a forest sees patterns in noise."""
_DEGREE = 2
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Importance:
    """`share` in [0, 1] of the variance of accuracy at a given size, among the `trials` that have the parameter."""

    parameter: str
    share: float
    trials: int


def importances(records: Sequence[TrialRecord], trials: Sequence[FrozenTrial], *, seed: int = 0) -> list[Importance]:
    """Every sampled parameter, the most important first; none where fewer than ten complete trials have one.

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
            shares = _shares([trials[number] for number in sorted(having)], left, seed)
            found += [
                Importance(parameter=name, share=shares[name], trials=len(having))
                for name in parameters
                if name in shares
            ]
    return sorted(found, key=lambda one: (-one.share, one.parameter))


def _unexplained(complete: Sequence[TrialRecord]) -> dict[int, float]:
    """By trial, the logit of accuracy above what a student of its size has."""
    accuracies = np.array([record.measured["accuracy"] for record in complete]).clip(1e-4, 1 - 1e-4)
    logits = np.log(accuracies / (1 - accuracies))
    sizes = np.log10([record.known["parameters"] for record in complete])
    degree = min(_DEGREE, len(np.unique(sizes)) - 1)
    expected = np.polyval(np.polyfit(sizes, logits, degree), sizes)
    return dict(zip((record.number for record in complete), (logits - expected).tolist(), strict=True))


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
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
