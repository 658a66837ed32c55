"""What half precision loses, by hand."""

import numpy as np
import pytest

from kdsearch.rounding import Rounding


def test_errors_are_measured_over_all_parts():
    rounding = Rounding(np.float16)
    # between 2,048 and 4,096 half precision has the even numbers; ties go to the even mantissa
    assert rounding.rounded(np.array([2049.0, 2.0], np.float32)).tolist() == [2048, 2]
    assert rounding.rounded(np.array([-2051.0], np.float32)).tolist() == [-2052]
    measured = rounding.measured()
    assert measured["precision"] == "float16"
    assert measured["max_absolute_error"] == 1.0
    assert measured["rms_relative_error"] == pytest.approx((2 / (2049**2 + 2**2 + 2051**2)) ** 0.5)


def test_what_does_not_fit_is_an_overflow():
    with pytest.raises(OverflowError):
        Rounding(np.float16).rounded(np.array([70_000.0], np.float32))
    kept = Rounding(np.float32)
    assert kept.rounded(np.array([70_000.0], np.float32)).tolist() == [70_000]
    assert kept.measured() == {"precision": "float32", "max_absolute_error": 0.0, "rms_relative_error": 0.0}


def test_features_of_nothing_but_zeros_lose_nothing():
    rounding = Rounding(np.float16)
    rounding.rounded(np.zeros(3, np.float32))
    assert rounding.measured()["rms_relative_error"] == 0.0
