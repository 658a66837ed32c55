"""FitNets' regressors by the paper's numbers (arXiv:1412.6550, section 2.2)."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kdsearch import metrics
from kdsearch.stages import ImpossibleError
from kdsearch.stages.regressors import KINDS, Joint


def joint(**changes) -> Joint:
    return Joint(**{"teacher_layer": "block1", "student_layer": "block2"} | changes)


def test_golden_the_papers_expensive_regressor():
    # 28x28 to 7x7 means k = 22; 8 to 64 channels: 22 * 22 * 8 * 64 weights, each used 7 * 7 times
    joined = joint()
    regressor = joined.regressor((8, 28, 28), (64, 7, 7))
    assert regressor.weight.shape == (64, 8, 22, 22)
    assert regressor.weight.numel() == 247_808
    assert regressor.bias.shape == (64,)  # beside the paper's k1 * k2 * C_hint * C_guided weights
    assert regressor.padding == (0, 0)
    assert joined.macs((8, 28, 28), (64, 7, 7)) == 247_808 * 49 == 12_142_592


def test_the_pooled_regressor_of_the_same_gap_is_cheap():
    joined = joint(kind="pooled")
    assert joined.regressor((8, 28, 28), (64, 7, 7)).weight.shape == (64, 8, 1, 1)
    assert joined.macs((8, 28, 28), (64, 7, 7)) == 8 * 64 * 49


sides = st.integers(1, 12)


@given(guided=st.tuples(st.integers(1, 4), sides, sides), wanted=st.tuples(st.integers(1, 4), sides, sides))
def test_golden_the_convolutional_regressor_gives_the_teachers_shape_or_is_impossible(guided, wanted):
    joined = joint()
    if wanted[1] > guided[1] or wanted[2] > guided[2]:
        with pytest.raises(ImpossibleError, match=r"cannot enlarge a map: .*regressor='pooled' can"):
            joined.regressor(guided, wanted)
        return
    with torch.device("meta"):
        regressor = joined.regressor(guided, wanted)
        assert regressor(torch.empty(2, *guided)).shape == (2, *wanted)
        if guided != wanted:
            assert joined.macs(guided, wanted) == metrics.macs(regressor, guided)


def test_a_larger_map_of_the_teacher_is_impossible_with_both_sizes_in_the_message():
    joined = joint()
    with pytest.raises(ImpossibleError, match=r"teacher 'block1' is 8x8, student 'block2' 4x4; regressor='pooled' can"):
        joined.regressor((3, 4, 4), (4, 8, 8))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("guided", "wanted"), [((8,), (4, 2, 2)), ((4, 2, 2), (8,)), ((5, 8), (5, 8)), ((), ())])
def test_features_of_different_kinds_cannot_be_joined(kind, guided, wanted):
    with pytest.raises(ImpossibleError, match="hints cannot join features of shape"):
        joint(kind=kind).regressor(guided, wanted)


def test_equal_shapes_need_no_regressor():
    joined = joint()
    assert isinstance(joined.regressor((4, 8, 8), (4, 8, 8)), nn.Identity)
    assert isinstance(joined.regressor((7,), (7,)), nn.Identity)
    assert joined.macs((4, 8, 8), (4, 8, 8)) == 0
