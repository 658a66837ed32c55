"""Accuracy at comparable size: size buys accuracy, so that what else did something shows once it is taken away. NumPy.

Shape letters: N trials.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_DEGREE = 2
_SURE = 1e-4
"""Accuracies count as no nearer than this to 0 and 1, where the logit has no value."""


@dataclass(frozen=True)
class SizeCurve:
    """A smooth curve of accuracy's logit over log10 parameters: what a student of a size has, as trials show it."""

    coefficients: Floats

    @classmethod
    def through(cls, accuracies_N: ArrayLike, parameters_N: ArrayLike) -> "SizeCurve":
        """The least squares fit of a parabola, of less where there are fewer than three sizes. N is at least 1,
        parameters are above 0.
        """
        sizes_N = np.log10(np.asarray(parameters_N, dtype=np.float64))
        degree = min(_DEGREE, len(np.unique(sizes_N)) - 1)
        return cls(np.polyfit(sizes_N, logit(accuracies_N), degree))

    def expected(self, parameters_N: ArrayLike) -> Floats:
        """The logit of accuracy, (N,), that students of these sizes have."""
        sizes_N = np.log10(np.asarray(parameters_N, dtype=np.float64))
        return np.asarray(np.polyval(self.coefficients, sizes_N), dtype=np.float64)

    def beyond(self, accuracies_N: ArrayLike, parameters_N: ArrayLike) -> Floats:
        """How far each accuracy's logit is above the expected one, (N,): ln 2 is half the odds of an error."""
        return logit(accuracies_N) - self.expected(parameters_N)


def logit(accuracies_N: ArrayLike) -> Floats:
    """Log odds of being right, (N,), within those of 0.0001 and 0.9999."""
    sure_N = np.clip(np.asarray(accuracies_N, dtype=np.float64), _SURE, 1 - _SURE)
    return np.asarray(np.log(sure_N / (1 - sure_N)), dtype=np.float64)


def share_right(logits_N: ArrayLike) -> Floats:
    """The accuracies, (N,), of these logits."""
    return np.asarray(1 / (1 + np.exp(-np.asarray(logits_N, dtype=np.float64))), dtype=np.float64)
