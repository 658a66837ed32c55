"""Features in fewer bits, with what that loses measured as it is done."""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_HALF_LIMIT = float(np.finfo(np.float16).max)


class Rounding:
    """Rounds features and measures what is lost."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._largest = self._squares = self._lost_squares = 0.0

    def rounded(self, features: NDArray[np.float32]) -> NDArray[Any]:
        """Raises `OverflowError` where a feature does not fit."""
        if self._dtype == np.float16 and float(np.abs(features).max()) >= _HALF_LIMIT:
            raise OverflowError
        kept = features.astype(self._dtype)
        lost = np.subtract(features, kept, dtype=np.float64)
        self._largest = max(self._largest, float(np.abs(lost).max()))
        self._lost_squares += float(np.square(lost).sum())
        self._squares += float(np.square(features, dtype=np.float64).sum())
        return kept

    def measured(self) -> dict[str, float | str]:
        """`max_absolute_error`, and `rms_relative_error`: the error's root mean square by the features'."""
        relative = math.sqrt(self._lost_squares / self._squares) if self._squares else 0.0
        return {
            "precision": str(self._dtype),
            "max_absolute_error": self._largest,
            "rms_relative_error": relative,
        }
