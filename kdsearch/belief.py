"""What is believed of a figure before training: a Gaussian process on the trials that have it.

Shape letters: N trials, C candidates, F features.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel

Array = NDArray[np.float64]

_LENGTH, _AMPLITUDE, _NOISE = 1.5, 2.0, 0.1
_SPREAD_OF_LENGTHS = 0.7
_MOST_FITTED = 100
"""Trials that the scales are fitted to: an evaluation of the likelihood costs their cube."""


class Belief:
    """A Gaussian process (Matern 5/2, a length scale a feature, a noise term) over standardized values.

    Its scales maximize the posterior, not the likelihood: log-normal priors of median 1.5 for lengths, 2 for the
    signal's and 0.1 for the noise's variance. On real distillations of digits the likelihood alone takes noise for
    signal until some 25 trials are there (log predictive density -4.5 against -1.3 for 12 trials, -1.5 against -0.87
    for 25). Features are about one unit long. The scales are fitted to the first trials of `fit` and kept for all.
    """

    def __init__(self, features_NF: Array, values_N: Array) -> None:
        """Fit the scales to at least one trial."""
        features_NF, values_N = features_NF[:_MOST_FITTED], values_N[:_MOST_FITTED]
        self._center = float(values_N.mean())
        self._spread = float(values_N.std()) or 1.0
        kernel = prior(features_NF.shape[1])
        if len(values_N) > 2:
            process = GaussianProcessRegressor(kernel, alpha=_JITTER, optimizer=_maximum_a_posteriori(kernel))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # a scale at its bound is as good as any
                kernel = process.fit(features_NF, self._standard(values_N)).kernel_
        self.kernel: Kernel = kernel
        self._process: Any = None

    def given(self, features_NF: Array, values_N: Array) -> "Belief":
        """Itself, with these trials to predict from."""
        process = GaussianProcessRegressor(self.kernel, alpha=_JITTER, optimizer=None)
        self._process = process.fit(features_NF, self._standard(values_N))
        return self

    def predict(self, features_CF: Array) -> tuple[Array, Array]:
        """Mean and standard deviation (C,) of the value that a new trial would show, noise included."""
        mean, std = self._process.predict(features_CF, return_std=True)
        return self._center + self._spread * mean, np.maximum(self._spread * std, 1e-6)

    def _standard(self, values_N: Array) -> Array:
        return (values_N - self._center) / self._spread


_JITTER = 1e-8


def prior(features: int) -> Kernel:
    """The kernel at the median of every prior."""
    lengths = np.full(features, _LENGTH)
    return ConstantKernel(_AMPLITUDE, (1e-2, 1e2)) * Matern(lengths, (5e-2, 1e2), nu=2.5) + WhiteKernel(
        _NOISE, (1e-3, 3.0)
    )


def _maximum_a_posteriori(kernel: Kernel) -> Callable[..., tuple[Array, float]]:
    """An optimizer for scikit-learn that adds the priors to the negative log marginal likelihood."""
    medians = kernel.theta.copy()  # in logarithms
    spreads = np.concatenate([[1.0], np.full(len(medians) - 2, _SPREAD_OF_LENGTHS), [1.0]])

    def optimizer(
        objective: Callable[[Array], tuple[float, Array]], theta: Array, bounds: Array
    ) -> tuple[Array, float]:
        def penalized(theta: Array) -> tuple[float, Array]:
            value, slope = objective(theta)
            off = (theta - medians) / spreads
            return value + 0.5 * float(off @ off), slope + off / spreads

        found = minimize(penalized, theta, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40})
        return found.x, float(found.fun)

    return optimizer
