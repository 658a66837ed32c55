import pytest
import torch

from kdsearch.data.base import Data, Split
from kdsearch.data.kept import keep_data, load_data
from kdsearch.files import DamagedError


def test_kept_data_are_the_data(tiny_data, tmp_path):
    keep_data(tiny_data, tmp_path)
    loaded = load_data(tmp_path, tiny_data.fingerprint)
    assert loaded.fingerprint == tiny_data.fingerprint
    assert (loaded.name, loaded.class_names) == (tiny_data.name, tiny_data.class_names)
    assert loaded.train.inputs.dtype == torch.uint8


def test_a_write_into_loaded_data_does_not_reach_the_file(tiny_data, tmp_path):
    keep_data(tiny_data, tmp_path)
    load_data(tmp_path, tiny_data.fingerprint).train.inputs[0] = 0
    assert load_data(tmp_path, tiny_data.fingerprint).fingerprint == tiny_data.fingerprint


def test_what_is_there_whole_is_not_written_again(tiny_data, tmp_path):
    keep_data(tiny_data, tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    keep_data(tiny_data, tmp_path)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["train-inputs.npy", "test-labels.npy", "data.json"])
def test_a_torn_file_is_found_and_written_again(tiny_data, tmp_path, name):
    keep_data(tiny_data, tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:-9])
    with pytest.raises(DamagedError):
        load_data(tmp_path, tiny_data.fingerprint)
    keep_data(tiny_data, tmp_path)
    assert (tmp_path / name).read_bytes() == whole


def test_other_data_take_the_place_of_those_there(tiny_data, make_data, tmp_path):
    keep_data(make_data(train=90), tmp_path)
    with pytest.raises(DamagedError, match="are not those"):
        load_data(tmp_path, tiny_data.fingerprint)
    keep_data(tiny_data, tmp_path)
    assert len(load_data(tmp_path, tiny_data.fingerprint).train) == 60


def test_nothing_there_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_data(tmp_path, "0" * 64)


def test_float_features_are_kept_as_they_are(tmp_path):
    split = Split(inputs=torch.randn(6, 4), labels=torch.arange(6) % 3)
    data = Data(name="flat", train=split, validation=split, test=split, class_names=("a", "b", "c"))
    keep_data(data, tmp_path)
    assert torch.equal(load_data(tmp_path, data.fingerprint).test.inputs, split.inputs)
