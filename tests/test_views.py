"""The training split as an augmentation shows it, and which augmentations are refused."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from kdsearch.data.augment import Augment, drawn
from kdsearch.data.base import Data, Split
from kdsearch.data.views import Views, check_replayable
from kdsearch.losses import hard_labels
from kdsearch.mistakes import Mistake, UserCodeError

INDEX = torch.tensor([41, 3, 17, 3])


@dataclass(frozen=True, kw_only=True)
class Noise:
    """An augmentation of a user's own; `source` is where its numbers come from."""

    views: int = 4
    source: str = "drawn"

    def apply(self, inputs_B, index_B, view):
        count = inputs_B[0].numel()
        match self.source:
            case "drawn":
                noise = drawn(index_B, count, 0, view).view(inputs_B.shape)
            case "torch":
                noise = torch.rand(inputs_B.shape)
            case "numpy":
                noise = torch.from_numpy(np.random.rand(*inputs_B.shape))
            case "python":
                noise = random.random()
            case "position":  # seeded by the view, but given out in the order of the batch
                noise = torch.rand(inputs_B.shape, generator=torch.Generator().manual_seed(view))
            case "batch":
                noise = inputs_B.float().mean()
            case "shape":
                return inputs_B.flatten(1)
            case "raises":
                raise KeyError("size")
        return inputs_B + noise


def test_without_augmentation_a_batch_is_the_data(tiny_data):
    views = Views(tiny_data)
    batch = views.batch(INDEX, 0)
    assert views.count == 1
    assert torch.equal(batch.inputs_B, tiny_data.batch(INDEX))
    assert len(batch.targets) == 1
    assert torch.equal(batch.targets[0], tiny_data.train.labels[INDEX])


def test_view_zero_is_the_data_under_every_augmentation(tiny_data):
    for augment in (Augment(shift=2, mixup=1.0), Noise(source="raises")):
        views = Views(tiny_data, augment)
        assert torch.equal(views.batch(INDEX, 0).inputs_B, tiny_data.batch(INDEX))
        assert views.key(0) == Views(tiny_data).key(0)


def test_epochs_of_the_whole_budget_take_the_views_in_turn(tiny_data):
    augment = Augment(shift=1, views=3)
    assert [Views(tiny_data, augment).at(epoch) for epoch in range(5)] == [0, 1, 2, 0, 1]
    assert [Views(tiny_data, augment, first_epoch=2).at(epoch) for epoch in range(4)] == [2, 0, 1, 2]
    assert Views(tiny_data, None, first_epoch=2).at(1) == 0


def test_the_pixels_are_augmented_before_they_are_normalized(tiny_data):
    augment = Augment(shift=2, flip=True)
    expected = tiny_data.normalize(augment.apply(tiny_data.train.inputs[INDEX], INDEX, 1))
    assert torch.equal(Views(tiny_data, augment).batch(INDEX, 1).inputs_B, expected)
    assert not torch.equal(expected, tiny_data.batch(INDEX))


def test_mixup_mixes_pixels_and_keeps_both_labels(tiny_data):
    augment = Augment(mixup=1.0, shift=1)
    plain = Views(tiny_data, Augment(shift=1))
    batch = Views(tiny_data, augment).batch(INDEX, 2)
    partner, weight = augment.mixing(INDEX, 2, 60)
    for row in range(len(INDEX)):
        own, other = (plain.batch(index[row : row + 1], 2).inputs_B[0] for index in (INDEX, partner))
        mixed = weight[row] * own + (1 - weight[row]) * other
        torch.testing.assert_close(batch.inputs_B[row], mixed)
    assert torch.equal(batch.targets[0], tiny_data.train.labels[INDEX])
    assert torch.equal(batch.targets[1], tiny_data.train.labels[partner])
    assert torch.equal(batch.targets[2], weight)
    assert torch.equal(batch.inputs_B[1], batch.inputs_B[3])  # the same example twice
    logits = torch.randn(4, 3)
    one, other = (torch.nn.functional.cross_entropy(logits, labels, reduction="none") for labels in batch.targets[:2])
    assert hard_labels(logits, *batch.targets).item() == pytest.approx(
        (weight * one + (1 - weight) * other).mean().item()
    )


def test_flat_inputs_can_be_mixed():
    split = Split(inputs=torch.randn(12, 5), labels=torch.arange(12) % 3)
    data = Data(name="flat", train=split, validation=split, test=split)
    assert Views(data, Augment(mixup=0.4)).batch(INDEX % 12, 1).inputs_B.shape == (4, 5)


def test_keys_are_by_content(tiny_data):
    keys = {
        Views(tiny_data, augment).key(view)
        for augment in (Augment(shift=1), Augment(shift=2), Augment(shift=1, mixup=0.1), Augment(shift=1, seed=1))
        for view in (1, 2)
    }
    assert len(keys) == 8
    assert Views(tiny_data, Augment(shift=1)).key(1) in keys


def test_changed_code_of_a_users_own_augmentation_is_another_view(tiny_data, monkeypatch):
    before = Views(tiny_data, Noise()).key(1)
    assert Views(tiny_data, Noise()).key(1) == before
    monkeypatch.setattr(Noise, "apply", lambda self, inputs_B, index_B, view: inputs_B + 1)
    assert Views(tiny_data, Noise()).key(1) != before


@pytest.mark.parametrize("augment", [Augment(shift=2, flip=True, cutout=3, mixup=0.2), Noise()])
def test_what_can_be_replayed_passes_and_leaves_the_generators_alone(tiny_data, augment):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    check_replayable(augment, tiny_data)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        *((name, r"Noise.apply\(\) cannot be replayed: .* same arguments, so it draws from a global random generator; "
                 r"take the numbers from kdsearch.drawn\(index_B, ...\); or else")
          for name in ("torch", "numpy", "python")),
        *((name, r"cannot be replayed: an example's pixels depend on the batch that it is in")
          for name in ("position", "batch")),
        ("shape", r"must keep the shape of the inputs, \(16, 1, 8, 8\), got \(16, 64\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_replayed_is_refused_with_the_reason(tiny_data, source, said):
    with pytest.raises(Mistake, match=said):
        check_replayable(Noise(source=source), tiny_data, "; or else")


def test_what_raises_says_where(tiny_data):
    with pytest.raises(UserCodeError, match=r"Noise.apply\(\) raised KeyError: 'size' \(test_views.py"):
        check_replayable(Noise(source="raises"), tiny_data)
