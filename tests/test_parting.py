"""Three splits from the parts that a source has."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdsearch.data.parting import partition
from kdsearch.mistakes import Mistake

LABELS = torch.arange(120) % 3
INPUTS = torch.arange(120).view(120, 1).byte()


def rows_of(data) -> dict[str, list[int]]:
    return {name: split.inputs.flatten().tolist() for name, split in data.splits().items()}


def parted(parts, **options):
    options = {"train": None, "validation": 0.25, "test": 30, "seed": 0, **options}
    return partition("some", INPUTS, LABELS, parts, **options)


@given(
    st.integers(3, 40) | st.floats(0.1, 0.3),
    st.integers(3, 40) | st.floats(0.1, 0.4),
    st.none() | st.integers(3, 30),
    st.integers(0, 9),
)
def test_splits_share_no_row_and_lose_none_that_is_wanted(test, validation, train, seed):
    data = parted({"train": torch.arange(120)}, train=train, validation=validation, test=test, seed=seed)
    rows = rows_of(data)
    together = [row for part in rows.values() for row in part]
    assert len(set(together)) == len(together)
    assert len(together) == 120 if train is None else len(rows["train"]) == train
    for split in data.splits().values():
        assert torch.equal(split.inputs.flatten() % 3, split.labels.byte())
        counts = split.labels.bincount()
        assert int(counts.max() - counts.min()) <= 1


def test_parts_that_a_source_has_are_taken_as_they_are():
    parts = {"train": torch.arange(60), "test": torch.arange(100, 120), "validation": torch.arange(60, 72)}
    assert rows_of(parted(parts)) == {name: rows.tolist() for name, rows in parts.items()}
    del parts["validation"]
    data = parted(parts)
    assert (len(data.train), len(data.validation)) == (45, 15)  # a quarter of what is not test


def test_a_share_is_of_all_for_test_and_of_the_rest_for_validation():
    data = parted({"train": torch.arange(120)}, test=0.25, validation=0.2)
    assert [len(split) for split in data.splits().values()] == [72, 18, 30]


def test_rows_behind_one_another_are_not_copied():
    data = parted({"train": torch.arange(60), "test": torch.arange(100, 120)})
    assert data.test.inputs.data_ptr() == INPUTS[100:].data_ptr()


@pytest.mark.parametrize("share", [0, -3, 1.0, 0.0, True, "half", None])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(Mistake, match="validation must be a number of examples or a fraction between 0 and 1"):
        parted({"train": torch.arange(120)}, validation=share)
