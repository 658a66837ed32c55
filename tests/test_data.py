"""The data value and the digits that need no file."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.data import Data, Split, digits
from kdsearch.data.base import data_folder, split_off
from kdsearch.mistakes import Mistake


def flat(examples: int = 6, classes: int = 3) -> Split:
    return Split(inputs=torch.randn(examples, 4), labels=torch.arange(examples) % classes)


def made(**changes) -> Data:
    return Data(**{"name": "made", "train": flat(12), "validation": flat(), "test": flat()} | changes)


def normalized(data: Data) -> torch.Tensor:
    """In batches, as training does it."""
    return torch.cat([data.normalize(part) for part in data.train.inputs.split(7)])


def test_training_images_are_normalized_per_channel():
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([10.0, 100.0, 250.0]).view(3, 1, 1)
    inputs = (torch.rand(40, 3, 6, 5, generator=generator) * scale).to(torch.uint8)
    split = Split(inputs=inputs, labels=torch.arange(40) % 2)
    found = normalized(made(train=split, validation=split, test=split))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_flat_inputs_are_normalized_over_all_features():
    found = normalized(made(train=Split(inputs=torch.randn(12, 4) * 5 + 100, labels=torch.arange(12) % 3)))
    assert found.mean().item() == pytest.approx(0, abs=1e-5)
    assert found.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_validation_and_test_are_normalized_by_the_training_split():
    data = made(
        train=Split(inputs=torch.tensor([[0.0], [2.0]] * 3), labels=torch.arange(6) % 3),
        validation=Split(inputs=torch.full((3, 1), 5.0), labels=torch.arange(3)),
        test=Split(inputs=torch.full((3, 1), -1.0), labels=torch.arange(3)),
    )
    assert data.normalize(data.validation.inputs).flatten().tolist() == [4.0] * 3  # mean 1, std 1
    assert data.normalize(data.test.inputs).flatten().tolist() == [-2.0] * 3


def test_constant_inputs_stay_finite():
    split = Split(inputs=torch.full((6, 4), 3.0), labels=torch.arange(6) % 3)
    assert normalized(made(train=split)).eq(0).all()


def test_small_variations_on_a_large_mean_are_not_lost():
    inputs = 10_000 + torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    split = Split(inputs=inputs, labels=torch.arange(12) % 3)
    assert normalized(made(train=split, validation=split, test=split)).std().item() == pytest.approx(1, abs=0.01)


def test_the_fingerprint_changes_with_any_value(make_data):
    data = make_data()
    seen = {data.fingerprint}
    for name, split in data.splits().items():
        for field in ("inputs", "labels"):
            altered = getattr(split, field).clone()
            altered.view(-1)[-1] = (altered.view(-1)[-1] + 1) % 3
            changed = dataclasses.replace(data, **{name: dataclasses.replace(split, **{field: altered})})
            seen.add(changed.fingerprint)
    seen.add(dataclasses.replace(data, train=data.train.head(30)).fingerprint)
    assert len(seen) == 8


def test_equal_data_have_equal_fingerprints_however_they_lie_in_memory(make_data):
    data = make_data()
    other = Split(
        inputs=data.train.inputs.clone().to(memory_format=torch.channels_last), labels=data.train.labels.clone()
    )
    assert make_data().fingerprint == data.fingerprint
    assert dataclasses.replace(data, train=other).fingerprint == data.fingerprint


def test_the_data_says_its_shape_and_classes():
    data = made()
    assert data.shape == (4,)
    assert data.classes == 3
    assert data.class_names == ("0", "1", "2")


@pytest.mark.parametrize("which", ["train", "validation", "test"])
def test_a_split_that_lacks_a_class_is_named_with_the_class(which):
    with pytest.raises(Mistake, match=rf"made: split '{which}' has no example of class 2; .*all 3 classes.*stratif"):
        made(**{which: Split(inputs=torch.randn(4, 4), labels=torch.tensor([0, 1, 0, 1]))})


def test_a_missing_class_is_called_by_its_name():
    with pytest.raises(Mistake, match="no example of class dog"):
        made(class_names=("cat", "cow", "bee", "dog"))


@pytest.mark.parametrize(
    ("inputs", "labels", "said"),
    [
        (torch.randn(0, 4), torch.arange(0), "'test' has 0 inputs and 0 labels; it needs at least one"),
        (torch.randn(3, 4), torch.arange(6) % 3, "'test' has 3 inputs and 6 labels"),
        (torch.randn(3, 5), torch.arange(3), r"inputs of 'test' have shape \(5,\), those of 'train' \(4,\)"),
        (torch.randn(4, 4), torch.tensor([0, 1, 2, -1]), r"labels of 'test' must lie in 0\.\.2, got -1"),
        (torch.randn(3, 4), torch.arange(3.0), "labels of 'test' must be int64 .* got torch.float32"),
        (torch.randn(3, 4), torch.eye(3).long(), r"labels of 'test' must be int64 of shape \(N,\)"),
    ],
    ids=["empty", "lengths", "shape", "negative", "float", "one-hot"],
)
def test_a_split_that_does_not_fit_is_refused(inputs, labels, said):
    with pytest.raises(Mistake, match=said):
        made(test=Split(inputs=inputs, labels=labels))


def test_more_labels_than_class_names_are_refused():
    with pytest.raises(Mistake, match=r"labels of 'train' must lie in 0\.\.1, got 2"):
        made(class_names=("cat", "cow"))


@settings(max_examples=40)
@given(
    counts=st.lists(st.integers(4, 40), min_size=2, max_size=5),
    share=st.floats(0.2, 0.8),
    seed=st.integers(0, 1000),
)
def test_splits_are_disjoint_whole_and_stratified(counts, share, seed):
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    wanted = min(max(round(share * len(labels)), len(counts)), len(labels) - len(counts))
    rest, chosen = split_off(labels, wanted, seed, "some")
    assert len(chosen) == wanted
    assert sorted([*rest.tolist(), *chosen.tolist()]) == list(range(len(labels)))
    for label, count in enumerate(counts):
        assert abs(int((labels[chosen] == label).sum()) - wanted * count / len(labels)) <= 1


def test_splits_are_drawn_by_their_seed_and_shuffled():
    labels = torch.arange(60) % 3
    first, again, other = (split_off(labels, 15, seed, "some")[1] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.tolist() != sorted(first.tolist())


@pytest.mark.parametrize("examples", [0, 60, 61, -1])
def test_a_split_of_all_or_none_is_refused_with_what_is_possible(examples):
    with pytest.raises(Mistake, match=f"some: cannot take {examples} examples of 60; take 1 to 59"):
        split_off(torch.arange(60) % 3, examples, 0, "some")


@pytest.mark.parametrize(
    ("labels", "examples"), [(torch.tensor([0, 0, 0, 1]), 2), (torch.arange(12) % 6, 3), (torch.arange(12) % 6, 9)]
)
def test_a_stratified_split_that_cannot_hold_all_classes_is_refused(labels, examples):
    with pytest.raises(Mistake, match=r"cannot hold all \d classes \(the rarest has \d\); change that number"):
        split_off(labels, examples, 0, "some")


def test_digits_are_the_1797_of_scikit_learn_kept_compact():
    data = digits()
    assert [len(split) for split in data.splits().values()] == [1077, 360, 360]
    assert data.shape == (1, 8, 8)
    assert data.classes == 10
    assert data.train.inputs.dtype == torch.uint8
    assert data.train.inputs.max() == 16
    whole = torch.cat([split.inputs for split in data.splits().values()]).flatten(1)
    from sklearn.datasets import load_digits

    assert sorted(map(tuple, whole.tolist())) == sorted(map(tuple, load_digits().data.astype(int).tolist()))


def test_digits_are_the_same_for_the_same_seed_only():
    assert digits(validation=100, test=100).fingerprint == digits(validation=100, test=100).fingerprint
    assert digits(seed=1).fingerprint != digits(seed=0).fingerprint


def test_the_data_folder_is_the_root_or_else_the_environments(tmp_path, monkeypatch):
    monkeypatch.setenv("KDSEARCH_DATA", str(tmp_path))
    (tmp_path / "own").mkdir()
    assert data_folder(None) == tmp_path
    assert data_folder(tmp_path / "own") == tmp_path / "own"
    with pytest.raises(Mistake, match="gone does not exist; name another with --data DIR or KDSEARCH_DATA"):
        data_folder(tmp_path / "gone")
    monkeypatch.delenv("KDSEARCH_DATA")
    with pytest.raises(Mistake, match=r"no data folder: name one with --data DIR, .*KDSEARCH_DATA"):
        data_folder(None)


def test_batches_are_the_normalized_examples_whether_kept_or_not(monkeypatch, tiny_data):
    index = torch.tensor([7, 0, 7, 59])
    expected = tiny_data.normalize(tiny_data.train.inputs)[index]
    assert torch.equal(tiny_data.batch(index), expected)
    monkeypatch.setattr("kdsearch.data.base._NORMALIZED_BYTES", 0)
    assert torch.equal(tiny_data.batch(index), expected)


def test_joined_data_are_normalized_as_before_and_are_other_data(tiny_data):
    joined = tiny_data.joined()
    assert len(joined.train) == len(tiny_data.train) + len(tiny_data.validation) == 90
    assert torch.equal(joined.train.inputs[60:], tiny_data.validation.inputs)
    assert torch.equal(joined.train.labels[:60], tiny_data.train.labels)
    assert all(torch.equal(now, then) for now, then in zip(joined.statistics, tiny_data.statistics, strict=True))
    index = torch.arange(5)
    assert torch.equal(joined.batch(index), tiny_data.batch(index))
    assert torch.equal(joined.batch(60 + index), tiny_data.normalize(tiny_data.validation.inputs[:5]))
    assert joined.class_names == tiny_data.class_names
    own = dataclasses.replace(joined, scale=None)
    assert len({tiny_data.fingerprint, joined.fingerprint, own.fingerprint}) == 3, "also by how they are normalized"


def test_joined_tokens_stay_tokens():
    split = Split(inputs=torch.arange(8).view(4, 2), labels=torch.tensor([0, 1, 0, 1]))
    joined = Data(name="words", train=split, validation=split, test=split, vocabulary=8).joined()
    assert joined.vocabulary == 8
    assert joined.batch(torch.tensor([4, 7])).tolist() == [[0, 1], [6, 7]]
