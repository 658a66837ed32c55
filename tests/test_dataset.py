"""Torch Datasets of the user's own: read by index, checked, and refused where indices do not mean the same twice."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from kdsearch.data import from_dataset
from kdsearch.data.cache import cache_folder
from kdsearch.mistakes import Mistake, UserCodeError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KDSEARCH_CACHE", str(tmp_path / "cache"))


class Counted(Dataset):
    """Item k is a picture full of k; its label is k mod 3."""

    def __init__(self, length=60, offset=0, make=lambda k: torch.full((2, 4, 4), k % 256, dtype=torch.uint8)):
        self.length, self.offset, self.make = length, offset, make

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return self.make(index + self.offset), (index + self.offset) % 3


@pytest.mark.parametrize("workers", [0, 2, None])
def test_rows_are_in_the_order_of_the_indices(workers):
    data = from_dataset(Counted(150), Counted(9, 150), Counted(6, 159), workers=workers, name="counted")
    assert [len(split) for split in data.splits().values()] == [150, 6, 9]
    assert (data.name, data.shape, data.train.inputs.dtype) == ("counted", (2, 4, 4), torch.uint8)
    assert data.train.inputs[:, 0, 0, 0].tolist() == list(range(150))
    assert data.train.labels.tolist() == [k % 3 for k in range(150)]
    assert data.validation.inputs[:, 1, 2, 3].tolist() == list(range(159, 165))
    assert data.test.inputs[:, 0, 0, 0].tolist() == list(range(150, 159))


def test_shares_are_taken_from_train_stratified():
    data = from_dataset(Counted(60), 12, 0.25, keep=24, class_names=["a", "b", "c"])
    assert [len(split) for split in data.splits().values()] == [24, 12, 12]
    for split in data.splits().values():
        assert torch.equal(split.inputs[:, 0, 0, 0] % 3, split.labels.byte())
        assert len(set(split.labels.bincount().tolist())) == 1
    assert data.class_names == ("a", "b", "c")


def test_streamed_to_disk_is_the_same_data(tmp_path):
    inside, streamed = from_dataset(Counted()), from_dataset(Counted(), memory_gb=1e-9)
    assert streamed.fingerprint == inside.fingerprint
    assert torch.equal(streamed.batch(torch.tensor([3, 1])), inside.batch(torch.tensor([3, 1])))
    assert list(cache_folder().iterdir()) == []  # nothing is left behind: the file has no name


@pytest.mark.parametrize(
    ("make", "shape", "dtype"),
    [
        (lambda k: torch.full((5,), float(k), dtype=torch.float64), (5,), torch.float32),
        (lambda k: np.full((3, 2), k, np.int32), (1, 3, 2), torch.float32),
        (lambda k: np.full((4, 3, 2), k, np.uint8)[:, ::-1], (4, 3, 2), torch.uint8),
        (lambda k: Image.new("RGB", (5, 3), (k, 0, 0)), (3, 3, 5), torch.uint8),
        (lambda k: Image.new("L", (5, 3), k), (1, 3, 5), torch.uint8),
        (lambda k: Image.new("RGBA", (5, 3), (k, 0, 0, 9)), (3, 3, 5), torch.uint8),
    ],
)
def test_tensors_arrays_and_pictures(make, shape, dtype):
    data = from_dataset(Counted(30, make=make))
    assert (data.shape, data.train.inputs.dtype) == (shape, dtype)
    first = data.train.inputs.flatten(1)[:, 0].long()
    assert torch.equal(first % 3, data.train.labels)


def test_a_plain_list_and_torchs_own_dataset_will_do():
    inputs, labels = torch.arange(60.0).view(30, 2), torch.arange(30) % 3
    one = from_dataset(TensorDataset(inputs, labels))
    other = from_dataset([(row.numpy(), np.int64(label)) for row, label in zip(inputs, labels, strict=True)])
    assert one.fingerprint == other.fingerprint


class Noisy(Counted):
    def __getitem__(self, index):
        picture, label = super().__getitem__(index)
        return picture + torch.randint(0, 9, (2, 4, 4), dtype=torch.uint8), label


class Growing(Counted):
    def __getitem__(self, index):
        self.length = 70
        return super().__getitem__(index)


class Turning(Counted):
    """Another order from the second pass on."""

    seen = 0

    def __getitem__(self, index):
        self.seen += 1
        return super().__getitem__(index if self.seen <= 80 else self.length - 1 - index)


@pytest.mark.parametrize("workers", [0, 2])
def test_items_drawn_at_random_are_refused_with_the_way_out(workers):
    with pytest.raises(Mistake, match=r"for train gives another item 0 when .*Recipe\(augment=\.\.\.\)"):
        from_dataset(Noisy(), workers=workers)


def test_an_order_or_length_that_changes_is_refused():
    with pytest.raises(Mistake, match="gives another item"):
        from_dataset(Turning())
    with pytest.raises(Mistake, match="had 60 examples before it was read and has 70 after"):
        from_dataset(Growing())
    with pytest.raises(Mistake, match="for test gives another item"):
        from_dataset(Counted(), Noisy())


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(2), 0


class Endless(Dataset):
    def __getitem__(self, index):
        return torch.zeros(2), 0


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (Stream(), "must be map-style"),
        (Endless(), "Endless, must be map-style, with __len__"),
        ([], "is empty"),
        ([torch.zeros(2)], "item 0 of the Dataset for train must be \\(input, label\\), got Tensor"),
        ([(torch.zeros(2), 1.5)], "label 1.5; labels must be integers"),
        ([(torch.zeros(2), True)], "label True; labels must be integers from 0: convert booleans to 0 and 1"),
        ([(torch.zeros(2), torch.tensor(True))], r"label tensor\(True\); .* convert booleans"),
        ([(torch.zeros(2), np.bool_(False))], "labels must be integers from 0: convert booleans"),
        ([(torch.zeros(2), torch.tensor([0.0, 1.0]))], "labels must be integers"),
        ([("text", 1)], "must have as its input a picture, or a tensor"),
        ([(torch.zeros(2, 2, 2, 2), 1)], r"got Tensor of shape \(2, 2, 2, 2\)"),
        ([(torch.tensor([1.0, float("nan")]), 1)], "holds NaN"),
        (
            [(torch.zeros(2), 0)] * 40 + [(torch.zeros(3), 0)],
            r"item 40 .* is \(3,\) float32, the first .* is \(2,\) float",
        ),
        ([(torch.zeros(2), 0)] * 40 + [(torch.zeros(2).byte(), 0)], "item 40 .* uint8"),
        ([(torch.zeros(2), k % 3 - 1) for k in range(60)], r"must lie in 0\.\.1, got -1"),
    ],
)
def test_what_is_no_data_is_named(dataset, said):
    with pytest.raises(Mistake, match=said):
        from_dataset(dataset)


@pytest.mark.parametrize("workers", [-1, 1.5, True, "all"])
def test_what_is_no_number_of_processes_is_refused(workers):
    with pytest.raises(Mistake, match=f"workers must be a whole number of processes, .* got {workers!r}"):
        from_dataset(Counted(), workers=workers)


def test_true_is_no_number_of_examples():
    for wrong, said in (
        ({"keep": True}, "a number of examples must be a whole number, got True"),
        ({"validation": True}, "validation must be a number of examples or a fraction"),
        ({"test": True}, "test must be a number of examples or a fraction"),
    ):
        with pytest.raises(Mistake, match=said):
            from_dataset(Counted(), **wrong)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_raises_is_named(workers):
    def make(k):
        if k == 40:
            raise OSError("the disk is gone")
        return torch.zeros(2)

    with pytest.raises(
        UserCodeError, match="item 40 of the Dataset for train raised OSError: the disk is gone"
    ) as found:
        from_dataset(Counted(make=make), workers=workers)
    assert "in make" in found.value.trace


def test_parts_that_do_not_fit_each_other_are_refused():
    with pytest.raises(Mistake, match=r"item 0 of the Dataset for test is \(9,\) float32"):
        from_dataset(Counted(), Counted(make=lambda k: torch.zeros(9)))
