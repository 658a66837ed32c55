"""What size explains of accuracy, on curves that are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsearch.comparable import SizeCurve, logit, share_right


def test_three_to_one_is_a_logit_of_ln_3_and_certainty_has_an_end():
    assert logit([0.75, 0.5]).tolist() == pytest.approx([math.log(3), 0])
    assert logit([1.0])[0] == pytest.approx(math.log(9999))


@given(st.floats(0.001, 0.999))
def test_share_right_is_the_inverse(accuracy):
    assert share_right(logit([accuracy]))[0] == pytest.approx(accuracy)


def test_a_parabola_of_log_size_is_explained_whole():
    sizes = np.array([10.0, 100, 1_000, 10_000])
    accuracies = share_right(-1 + 1.5 * np.log10(sizes) - 0.2 * np.log10(sizes) ** 2)
    curve = SizeCurve.through(accuracies, sizes)
    assert curve.beyond(accuracies, sizes).tolist() == pytest.approx([0] * 4, abs=1e-9)
    assert share_right(curve.expected([100]))[0] == pytest.approx(accuracies[1])


def test_with_one_size_or_two_a_mean_or_a_line_is_expected():
    one = SizeCurve.through([0.5, 0.75], [100, 100])
    assert one.expected([5])[0] == pytest.approx(math.log(3) / 2)
    two = SizeCurve.through([0.5, 0.75], [100, 10_000])
    assert two.expected([1_000])[0] == pytest.approx(math.log(3) / 2)
