"""Dominance between trials: the front, its hypervolume and its knee, with NumPy alone.

Shape letters: N points, D objectives. Points are (N, D) with every objective to be minimized (negate accuracy).
Left out: non-dominated ranks beyond the first, which only early stopping needs.
"""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def front(points_ND: Points) -> NDArray[np.intp]:
    """Indices of the non-dominated points, rising by the last objective, then by the first; equal points all stay.

    A point is dominated if another is at least as good in every objective and better in one.
    """
    kept = np.arange(len(points_ND))
    position = 0
    while position < len(kept):  # each pivot removes what it dominates: N * front comparisons, not N * N
        pivot = points_ND[kept[position]]
        rest = points_ND[kept]
        survives = (rest < pivot).any(axis=1) | (rest == pivot).all(axis=1)
        position = int(survives[:position].sum()) + 1
        kept = kept[survives]
    return kept[np.lexsort((points_ND[kept, 0], points_ND[kept, -1]))]


def hypervolume(points_N2: Points, reference_2: Points) -> float:
    """Area that the points dominate below `reference_2`, both objectives minimized; 0.0 for none.

    Points that are not strictly below the reference in both objectives add nothing.
    """
    inside = points_N2[(points_N2 < reference_2).all(axis=1)]
    area, ceiling = 0.0, float(reference_2[0])
    for first, second in inside[np.lexsort((inside[:, 0], inside[:, 1]))]:
        if first < ceiling:
            area += (ceiling - float(first)) * (float(reference_2[1]) - float(second))
            ceiling = float(first)
    return area


def knee(points_N2: Points) -> int:
    """Index of the front's knee: farthest below the line joining its two ends, each objective scaled to [0, 1].

    Where the front has no bend (fewer than three points, or none below that line) the best in the first objective is
    returned.
    """
    members = front(points_N2)
    chosen = points_N2[members]
    low, high = chosen.min(axis=0), chosen.max(axis=0)
    if len(members) < 3 or (low == high).any():
        return int(members[np.argmin(chosen[:, 0])])
    # the line joins (0, 1) and (1, 0), so the ends sum to 1 and what lies below it to less
    sums = ((chosen - low) / (high - low)).sum(axis=1)
    return int(members[np.argmin(sums if (sums < 1 - 1e-12).any() else chosen[:, 0])])
