"""The bias correction of a digit left out, worked by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from benchmarks.omitted import best_bias, found

# of class 2, never predicted as it is: margins of 1, 3 and 2 to it; the last is of class 0
LOGITS = tensor([[5.0, 0.0, 4.0], [0.0, 5.0, 2.0], [5.0, 0.0, 3.0]])


@pytest.mark.parametrize(
    ("labels", "bias"),
    [
        ([2, 2, 0], 1.5),  # as many right between 1 and 2 as above 3, where that of class 0 is lost: the first
        ([2, 1, 0], 1.5),  # right from 1 on, too much from 2 on
        ([0, 1, 0], 0.0),  # none to be gained: below the smallest margin
        ([2, 2, 2], 4.0),  # all from 3 on
    ],
)
def test_golden_the_bias_is_the_middle_of_the_best_stretch(labels, bias):
    assert best_bias(LOGITS, tensor(labels), 2) == pytest.approx(bias)


def test_golden_errors_before_and_after_a_bias():
    labels = tensor([2, 1, 0])
    before, after = found(LOGITS, labels, 2), found(LOGITS, labels, 2, 1.5)
    assert (before.errors, before.errors_omitted, before.omitted, before.share) == (1, 1, 1, 0.0)
    assert (after.errors, after.errors_omitted, after.share) == (0, 0, 1.0)
    assert found(LOGITS, labels, 2, 3.5).errors == 2
    assert found(LOGITS, labels, 2, 3.5).errors_omitted == 0


@given(st.integers(0, 10_000), st.integers(1, 40), st.floats(-30, 30))
def test_no_other_bias_has_more_right(seed, examples, other):
    generator = torch.Generator().manual_seed(seed)
    # whole numbers: many equal margins
    logits = torch.randint(-4, 5, (examples, 4), generator=generator).float()
    labels = torch.randint(0, 4, (examples,), generator=generator)
    chosen = found(logits, labels, 1, best_bias(logits, labels, 1)).errors
    margins = logits[:, [0, 2, 3]].max(1).values - logits[:, 1]
    if not torch.isclose(margins, tensor(other)).any():
        assert chosen <= found(logits, labels, 1, other).errors
