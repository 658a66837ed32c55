"""What candidates are expected to add to the front, from the trials so far.

Shape letters: N trials, C candidates, F features, D objectives beside the one that the gain is measured in.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.trial import TrialState
from scipy.special import expit

from kdsearch.belief import Belief
from kdsearch.features import logit_of
from kdsearch.gain import expected_gain
from kdsearch.history import Tried
from kdsearch.study import OBJECTIVES

Array = NDArray[np.float64]
Fit = Callable[[str, Array, Array], Belief]

_SHARES = ("accuracy", "macro_f1")
_SAMPLES = 8
"""Joint draws of the uncertain objectives beside accuracy: for each of them the gain is exact."""


class Outlook:
    """Beliefs about every uncertain objective, and the front that a candidate has to add to.

    The gain's height is accuracy (or macro_f1, where accuracy is no objective). Beside it every other objective is a
    coordinate on its log10 scale: known exactly (parameters, macs, size_kb), or drawn from its own belief (latency_ms;
    macro_f1 on its own scale), independently of accuracy. Trials that run or wait count with what is believed of them.
    A failed trial counts as the worst: a model that is not told of failures proposes their like for ever.
    """

    def __init__(
        self, objectives: Sequence[str], reference: Mapping[str, float], trials: Sequence[Tried], features_NF: Array
    ) -> None:
        self._objectives = objectives
        self._reference = reference
        self._trials = trials
        self._features_NF = features_NF
        self.height = next((name for name in _SHARES if name in objectives), None)
        self._besides = [name for name in objectives if name != self.height]
        self._uncertain = [name for name in objectives if not OBJECTIVES[name].known]
        self._beliefs: dict[str, Belief] = {}

    def believe(self, fit: Fit) -> None:
        """Form the beliefs; `fit` gives one whose scales are fitted to the (features, values) of complete trials."""
        self._values_ND = np.array([self._row(trial) for trial in self._trials])
        complete = np.array([trial.state == TrialState.COMPLETE for trial in self._trials])
        failed = np.array([trial.state == TrialState.FAIL for trial in self._trials])
        for name in self._uncertain:
            values_N = self._values_ND[:, self._objectives.index(name)]  # a view: what is believed is written into it
            worst = np.nanmin if OBJECTIVES[name].direction == "maximize" else np.nanmax
            values_N[failed] = worst(values_N)
            belief = fit(name, self._features_NF[complete], values_N[complete])
            running = np.isnan(values_N)
            if running.any():
                belief.given(self._features_NF[~running], values_N[~running])
                values_N[running] = belief.predict(self._features_NF[running])[0]
            self._beliefs[name] = belief.given(self._features_NF, values_N)
        self._stands = ~failed

    def _row(self, trial: Tried) -> list[float]:
        if trial.values is not None:
            return [_scaled(name, value) for name, value in zip(self._objectives, trial.values, strict=True)]
        known = trial.known
        return [_scaled(name, known[name]) if name in known else float("nan") for name in self._objectives]

    def gains(self, features_CF: Array, known: Sequence[Mapping[str, float]], seed: int) -> Array:
        """Expected gain in hypervolume (C,) of candidates with these `known` figures."""
        predicted = {name: belief.predict(features_CF) for name, belief in self._beliefs.items()}
        if self.height is None:  # nothing but coordinates: a place is covered or it is not
            mean_C, std_C, floor = np.full(len(known), 40.0), np.full(len(known), 1e-3), 0.0
            heights_N = np.ones(int(self._stands.sum()))
        else:
            mean_C, std_C = predicted[self.height]
            floor = float(expit(_scaled(self.height, self._reference.get(self.height, 0.0))))
            heights_N = expit(self._values_ND[self._stands, self._objectives.index(self.height)])
        columns = [self._objectives.index(name) for name in self._besides]
        front_ND = self._values_ND[self._stands][:, columns]
        drawn = [name for name in self._besides if name in predicted]
        random = np.random.default_rng(seed)
        gains = []
        for _ in range(_SAMPLES if drawn else 1):
            besides_CD = np.empty((len(known), len(self._besides)))
            for column, name in enumerate(self._besides):
                if name in predicted:
                    mean, std = predicted[name]
                    besides_CD[:, column] = mean + std * random.standard_normal(len(known))
                else:
                    besides_CD[:, column] = [_scaled(name, figures[name]) for figures in known]
            gains.append(self._gain(mean_C, std_C, besides_CD, heights_N, front_ND, floor))
        mean_gain_C: Array = np.mean(gains, axis=0)
        return mean_gain_C

    def _gain(
        self, mean_C: Array, std_C: Array, besides_CD: Array, heights_N: Array, front_ND: Array, floor: float
    ) -> Array:
        besides_CD, front_ND = besides_CD.copy(), front_ND.copy()
        ends = np.empty(len(self._besides))
        for column, name in enumerate(self._besides):
            if OBJECTIVES[name].direction == "maximize":
                besides_CD[:, column] *= -1
                front_ND[:, column] *= -1
            seen = np.concatenate([besides_CD[:, column], front_ND[:, column]])
            ends[column] = _scaled(name, self._reference[name]) if name in self._reference else seen.max() + 0.1
        return expected_gain(mean_C, std_C, besides_CD, heights_N, front_ND, floor, ends)


def _scaled(name: str, value: float) -> float:
    """Shares as logits, everything else as log10."""
    return logit_of(value) if name in _SHARES else float(np.log10(max(value, 1e-9)))
