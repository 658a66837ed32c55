"""Augmentation worked by hand on tiny images, and what makes it replayable."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdsearch.data import augment as module
from kdsearch.data.augment import Augment, check_views, described, drawn
from kdsearch.mistakes import Mistake

FIXED = [[2744864.0, 9181720.0], [2671081.0, 10605382.0]]
LOWEST, HIGHEST = 0.0, 1 - 2**-24
IMAGE = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=torch.uint8)[None, None]
ONE = torch.tensor([0])


@pytest.fixture
def fate(monkeypatch):
    """Sets the numbers that are drawn: flip, down, right, row, column, partner, weight."""

    def decide(**numbers: float) -> None:
        names = ("flip", "down", "right", "row", "column", "partner", "weight")
        row = torch.tensor([[numbers.get(name, 0.5) for name in names]], dtype=torch.float64)
        monkeypatch.setattr(module, "drawn", lambda index_B, count, seed, view: row.expand(len(index_B), -1))

    return decide


def shown(augment: Augment, image: torch.Tensor = IMAGE) -> list:
    return augment.apply(image, ONE, 1)[0, 0].tolist()


def test_flip_mirrors_left_to_right_where_the_draw_is_below_a_half(fate):
    fate(flip=0.49)
    assert shown(Augment(flip=True)) == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    fate(flip=0.5)
    assert shown(Augment(flip=True)) == IMAGE[0, 0].tolist()


def test_shift_moves_by_up_to_so_many_pixels_and_repeats_the_border(fate):
    fate(down=HIGHEST, right=LOWEST)  # one down, one left
    assert shown(Augment(shift=1)) == [[2, 3, 3], [2, 3, 3], [5, 6, 6]]
    fate(down=LOWEST, right=HIGHEST)  # two up, two right
    assert shown(Augment(shift=2)) == [[7, 7, 7], [7, 7, 7], [7, 7, 7]]
    fate(down=0.5, right=0.5)
    assert shown(Augment(shift=2)) == IMAGE[0, 0].tolist()


def test_what_is_flipped_is_shifted_afterwards(fate):
    fate(flip=0.0, right=HIGHEST)
    assert shown(Augment(flip=True, shift=1)) == [[3, 3, 2], [6, 6, 5], [9, 9, 8]]


def test_cutout_blackens_a_square_around_its_centre_clipped_at_the_border(fate):
    fate(row=0.5, column=0.5)  # the middle; a side of 2 is that pixel and the one before
    assert shown(Augment(cutout=2)) == [[0, 0, 3], [0, 0, 6], [7, 8, 9]]
    fate(row=LOWEST, column=HIGHEST)
    assert shown(Augment(cutout=2)) == [[1, 0, 0], [4, 5, 6], [7, 8, 9]]


def test_channels_move_together_and_floats_stay_floats(fate):
    fate(right=HIGHEST)
    image = torch.stack([IMAGE[0, 0].float(), -IMAGE[0, 0].float()])[None]
    moved = Augment(shift=1).apply(image, ONE, 1)
    assert moved.dtype == torch.float32
    assert moved[0].tolist() == [
        [[1, 1, 2], [4, 4, 5], [7, 7, 8]],
        [[-1, -1, -2], [-4, -4, -5], [-7, -7, -8]],
    ]


def test_mixup_takes_the_weight_from_the_beta_distribution(fate):
    fate(partner=0.999, weight=0.3)
    partner, weight = Augment(mixup=1.0).mixing(ONE, 1, 60)  # Beta(1, 1) is uniform
    assert partner.tolist() == [59]
    assert weight.item() == pytest.approx(0.3)
    fate(weight=0.5)
    assert Augment(mixup=0.2).mixing(ONE, 1, 60)[1].item() == pytest.approx(0.5)  # symmetric
    assert Augment(shift=1).mixing(ONE, 1, 60) is None


def test_weights_are_distributed_as_beta():
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)): 0.1786 for a = 0.2
    _, weights = Augment(mixup=0.2).mixing(torch.arange(20_000), 1, 20_000)
    assert weights.mean().item() == pytest.approx(0.5, abs=0.01)
    assert weights.var().item() == pytest.approx(1 / (4 * 1.4), abs=0.003)


def test_view_zero_is_the_data_as_it_is():
    everything = Augment(shift=1, flip=True, cutout=1, mixup=1.0)
    assert everything.apply(IMAGE, ONE, 0) is IMAGE
    assert everything.mixing(ONE, 0, 60) is None


def test_numbers_are_uniform_and_differ_between_views_seeds_and_examples():
    index = torch.arange(4096)
    numbers = drawn(index, 3, 0, 1)
    assert numbers.shape == (4096, 3)
    assert 0 <= float(numbers.min()) < 0.01
    assert 0.99 < float(numbers.max()) < 1
    assert numbers.mean(0).tolist() == pytest.approx([0.5] * 3, abs=0.02)
    assert np.abs(np.corrcoef(numbers.T.numpy()) - np.eye(3)).max() < 0.06
    for other in (drawn(index, 3, 0, 2), drawn(index, 3, 1, 1), drawn(index + 1, 3, 0, 1)):
        assert (numbers == other).float().mean() < 0.001


def test_numbers_are_the_same_on_every_machine():
    # from NumPy's raw Philox stream, which it promises to keep; a change here makes stored studies unrepeatable
    assert (drawn(torch.tensor([0, 70]), 2, 5, 3) * 2**24).tolist() == FIXED
    code = (
        "import torch; from kdsearch.data.augment import drawn\n"
        "print((drawn(torch.tensor([0, 70]), 2, 5, 3) * 2**24).tolist())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(FIXED)


@given(
    examples=st.permutations(range(9)),
    cut=st.integers(1, 8),
    view=st.integers(1, 5),
    augment=st.builds(
        Augment, shift=st.integers(0, 2), flip=st.booleans(), cutout=st.integers(0, 3), seed=st.integers(0, 3)
    ),
)
def test_an_examples_pixels_do_not_depend_on_its_batch(examples, cut, view, augment):
    images = torch.arange(9 * 2 * 4 * 5).view(9, 2, 4, 5).float()
    whole = augment.apply(images, torch.arange(9), view)
    index = torch.tensor(examples)
    parts = [augment.apply(images[part], part, view) for part in (index[:cut], index[cut:])]
    assert torch.equal(torch.cat(parts), whole[index])


def test_flat_inputs_know_mixup_alone():
    flat = torch.ones(1, 5)
    assert torch.equal(Augment(mixup=0.4).apply(flat, ONE, 1), flat)
    with pytest.raises(
        Mistake, match=r"need images \(C, H, W\), the inputs are of shape \(5,\); flat inputs know mixup"
    ):
        Augment(shift=1).apply(flat, ONE, 1)


def test_a_shift_or_square_as_large_as_the_image_is_refused():
    with pytest.raises(Mistake, match=r"shift and cutout must be below the image's side, got 0 and 3 for .* 3x3"):
        Augment(cutout=3).apply(IMAGE, ONE, 1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"shift": -1}, "shift must be a whole number of pixels, at least 0, got -1"),
        ({"cutout": 1.5}, "cutout must be a whole number of pixels, at least 0, got 1.5"),
        ({"mixup": -0.1}, "mixup must be the Beta distribution's alpha, at least 0 .* got -0.1"),
        ({"mixup": float("nan")}, "mixup must be"),
        ({"views": 0}, "views must be a whole number of at least 1 .* got 0"),
        ({"views": True}, "views must be a whole number"),
    ],
)
def test_wrong_values_are_refused(wrong, said):
    with pytest.raises(Mistake, match=said):
        Augment(**wrong)


@dataclass
class Melted:
    views: int = 2

    def apply(self, inputs_B, index_B, view):
        return inputs_B


@pytest.mark.parametrize("augment", [Melted(), "flip", Augment, 3])
def test_an_augmentation_is_a_frozen_dataclass_with_views_and_apply(augment):
    with pytest.raises(Mistake, match=r"augment must be Augment\(...\) or a frozen dataclass with views and apply"):
        check_views(augment)


def test_a_description_says_what_is_not_the_default():
    assert described(Augment(shift=2, mixup=0.4)) == "Augment(shift=2, mixup=0.4)"
