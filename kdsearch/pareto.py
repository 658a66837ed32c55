"""Dominance between trials: the front, its hypervolume and its knee, with NumPy alone.

Shape letters: N points, D objectives. Points are (N, D) with every objective to be minimized (negate accuracy).
"""

from bisect import bisect_right

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


def ranks(points_N2: Points) -> NDArray[np.intp]:
    """Each point's non-dominated rank: 0 on the front, 1 on the front of what is left without it, and so on.

    Equal points share their rank. N log N comparisons: points come by rising second, then first objective, so a rank
    dominates a point if the least first objective in it so far does not exceed the point's. These leasts rise from
    rank to rank, so that the first rank that does not is a place among them.
    """
    order = np.lexsort((points_N2[:, 0], points_N2[:, 1]))
    found: list[int] = []
    leasts: list[float] = []
    before, rank = None, 0
    for point in zip(*points_N2[order].T.tolist(), strict=True):
        if point != before:
            rank = bisect_right(leasts, point[0])
            leasts[rank : rank + 1] = [point[0]]
            before = point
        found.append(rank)
    ranks_N = np.empty(len(order), dtype=np.intp)
    ranks_N[order] = found
    return ranks_N


def epsilon_net(points_ND: Points, count: int | None = None) -> NDArray[np.intp]:
    """Indices in an order whose every beginning is well spread (Salinas et al. 2021): all, or the first `count`.

    It begins with the best in the first objective; each next point is the farthest (Euclidean) from those before it,
    the earlier of equals. Scale the objectives beforehand: distances compare them.
    """
    count = len(points_ND) if count is None else min(count, len(points_ND))
    order = np.empty(count, dtype=np.intp)
    distance = np.full(len(points_ND), np.inf)
    for place in range(count):
        chosen = int(np.argmax(distance)) if place else int(np.argmin(points_ND[:, 0]))
        order[place] = chosen
        distance = np.minimum(distance, ((points_ND - points_ND[chosen]) ** 2).sum(axis=1))
        distance[chosen] = -1.0  # never again, not even before its equals
    return order


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


def hypervolumes(points_N2: Points, reference_2: Points) -> Points:
    """The hypervolume of each point and all before it, (N,): how a search went."""
    kept_N2, volume = np.empty((0, 2)), 0.0
    grown_N = np.empty(len(points_N2))
    for place, point_2 in enumerate(points_N2):
        if not (kept_N2 <= point_2).all(axis=1).any():  # most trials are dominated, and change nothing
            kept_N2 = np.vstack([kept_N2, point_2])
            kept_N2 = kept_N2[front(kept_N2)]
            volume = hypervolume(kept_N2, reference_2)
        grown_N[place] = volume
    return grown_N


def knees(points_N2: Points) -> NDArray[np.intp]:
    """Indices of the front, its knee first: by how far they are below the line joining its two ends, each objective
    scaled to [0, 1].

    Where the front has no bend (fewer than three points, or none below that line) by the first objective.
    """
    members = front(points_N2)
    chosen = points_N2[members]
    low, high = chosen.min(axis=0), chosen.max(axis=0)
    by_first = members[np.argsort(chosen[:, 0], kind="stable")]
    if len(members) < 3 or (low == high).any():
        return by_first
    # the line joins (0, 1) and (1, 0), so the ends sum to 1 and what lies below it to less
    sums = ((chosen - low) / (high - low)).sum(axis=1)
    return members[np.argsort(sums, kind="stable")] if (sums < 1 - 1e-12).any() else by_first
