"""Expected hypervolume gain of a candidate of which all but one objective is known before training.

Shape letters: C candidates, L members of the front, D objectives known beforehand (all to be minimized, the size as
log10 parameters among them), Q quadrature nodes.

A candidate at point k with accuracy a adds to the hypervolume, at every place of the known objectives' space that it
covers (from k to the reference), the height by which a exceeds the best accuracy that covers the place already. These
heights have few different values, so the gain is sum over levels l of volume(k, l) * max(0, a - l): piecewise linear in
a, and its expectation under a Gaussian belief about a's logit needs one-dimensional integrals alone. For one known
objective this is the expected hypervolume improvement of two objectives (Emmerich, Deutz, Klinkenberg 2011) with one of
them certain.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr

from kdsearch.pareto import front

Array = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)
_SURE = 12.0
"""Beyond this logit, either way, lies less than 1e-5 of accuracy."""
_TAIL = 5.0
"""Standard deviations beyond which a Gaussian's mass is left out: it weighs less than 1e-6."""


def expected_gain(
    mean_C: Array, std_C: Array, known_CD: Array, front_L: Array, front_LD: Array, reference: float, reference_D: Array
) -> Array:
    """Expected gain (C,) in hypervolume above `reference` accuracy and below `reference_D`.

    `mean_C` and `std_C` (> 0) are of the accuracy's logit. `front_L` are accuracies in [0, 1] at `front_LD`; they may
    hold dominated points.
    """
    inside = (front_L > reference) & (front_LD < reference_D).all(axis=1)
    front_L, front_LD = front_L[inside], front_LD[inside]
    kept = front(np.column_stack([front_LD, -front_L]))
    levels = np.unique(np.append(front_L[kept], reference))
    volumes_CL = covered(known_CD, levels, front_L[kept], front_LD[kept], reference_D)
    gain: Array = (volumes_CL * expected_excess(mean_C, std_C, levels)).sum(axis=1)
    return gain


def expected_excess(mean_C: Array, std_C: Array, levels_L: Array) -> Array:
    """E[max(0, a - level)] as (C, L) for a = sigmoid(g), g Gaussian: the integral over t >= level of P(a > t).

    Integrated over the logit, where the integrand is smooth: below mean - 5 std it is the sigmoid's slope, whose
    integral is known; the rest is Gauss and Legendre's rule. Exact to about 1e-5.
    """
    mean, std = mean_C[:, None], std_C[:, None]
    from_CL = np.clip(np.maximum(logit(levels_L)[None, :], mean - _TAIL * std), -_SURE, _SURE)
    to_CL = np.maximum(from_CL, np.minimum(mean + _TAIL * std, _SURE))
    half_CL = (to_CL - from_CL) / 2
    certain_CL = np.maximum(expit(from_CL) - levels_L, 0.0)
    nodes_CLQ = ((to_CL + from_CL) / 2)[..., None] + half_CL[..., None] * _NODES
    slope_CLQ = expit(nodes_CLQ)
    slope_CLQ *= 1 - slope_CLQ
    slope_CLQ *= ndtr((mean[..., None] - nodes_CLQ) / std[..., None])
    excess: Array = certain_CL + half_CL * (slope_CLQ @ _WEIGHTS)
    return excess


def covered(known_CD: Array, levels_L: Array, front_M: Array, front_MD: Array, reference_D: Array) -> Array:
    """The volume (C, L) of the places from each candidate's point to the reference whose best accuracy is each level.

    The front's coordinates cut the space into a grid in whose cells that best is the same: (M + 1)^D cells a candidate.
    """
    cuts = [np.sort(np.append(column, -np.inf)) for column in front_MD.T]
    best = np.full([len(cut) for cut in cuts], levels_L[0])
    for accuracy, point in zip(front_M, front_MD, strict=True):
        region = tuple(slice(np.searchsorted(cut, value), None) for cut, value in zip(cuts, point, strict=True))
        best[region] = np.maximum(best[region], accuracy)
    cells_CG = np.ones((len(known_CD), 1))
    for known_C, cut, end in zip(known_CD.T, cuts, reference_D, strict=True):
        ends = np.append(cut[1:], end)
        widths_CG = np.maximum(ends - np.maximum(cut, known_C[:, None]), 0.0)
        cells_CG = (cells_CG[:, :, None] * widths_CG[:, None, :]).reshape(len(known_CD), -1)
    is_level_GL = np.searchsorted(levels_L, best.ravel())[:, None] == np.arange(len(levels_L))
    volumes: Array = cells_CG @ is_level_GL
    return volumes
