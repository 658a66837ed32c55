"""Some of many, where all would be too much to draw or to fit."""

import numpy as np
from numpy.typing import NDArray


def evenly(count: int, among: int) -> NDArray[np.intp]:
    """Places of at most `count` of `among` things in order, both ends included, evenly apart."""
    if among <= count:
        return np.arange(among)
    return np.unique(np.linspace(0, among - 1, count).round().astype(np.intp))
