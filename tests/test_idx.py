"""MNIST's file format, with files written here and, where they are at hand, the real ones."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from kdsearch.data import fashion_mnist, idx, mnist
from kdsearch.mistakes import Mistake

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def encoded(values: np.ndarray) -> bytes:
    """The format as LeCun's page describes it: two zeros, type, axes, big-endian lengths, then the bytes."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(length.to_bytes(4, "big") for length in values.shape)
    return header + values.astype(np.uint8).tobytes()


def images_of(labels: np.ndarray) -> np.ndarray:
    """5x4 images whose first pixel is their label, so that a mix-up shows."""
    images = np.random.default_rng(0).integers(0, 255, (len(labels), 5, 4))
    images[:, 0, 0] = labels
    return images


def write(folder: Path, *, zipped: bool = False, dotted: bool = False, train: int = 60, test: int = 12) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    train_labels, test_labels = np.arange(train) % 3, np.arange(test) % 3
    parts = {
        TRAIN_IMAGES: images_of(train_labels),
        TRAIN_LABELS: train_labels,
        TEST_IMAGES: images_of(test_labels),
        TEST_LABELS: test_labels,
    }
    for name, values in parts.items():
        spelled = name.replace("-idx", ".idx") if dotted else name
        content = encoded(values)
        path = folder / (spelled + ".gz" if zipped else spelled)
        path.write_bytes(gzip.compress(content) if zipped else content)
    return folder


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("below", ["", "mine", "mine/raw", "raw"])
def test_files_are_found_however_they_are_kept(tmp_path, below, zipped, dotted):
    write(tmp_path / below, zipped=zipped, dotted=dotted)
    data = idx(tmp_path, name="mine", validation=15)
    assert [len(split) for split in data.splits().values()] == [45, 15, 12]
    assert data.shape == (1, 5, 4)
    assert data.name == "mine"
    for split in data.splits().values():
        assert split.inputs.dtype == torch.uint8
        assert torch.equal(split.inputs[:, 0, 0, 0].long(), split.labels)


def test_every_pixel_keeps_its_place(tmp_path):
    write(tmp_path)
    data = idx(tmp_path, validation=15)
    expected = torch.from_numpy(images_of(np.arange(12) % 3)).to(torch.uint8).unsqueeze(1)
    assert torch.equal(data.test.inputs, expected)


def test_train_and_validation_are_stratified_and_disjoint_parts(tmp_path):
    write(tmp_path)
    data = idx(tmp_path, validation=15, train=30)
    assert data.train.labels.bincount().tolist() == [10, 10, 10]
    assert data.validation.labels.bincount().tolist() == [5, 5, 5]
    rows = [tuple(row) for split in (data.train, data.validation) for row in split.inputs.flatten(1).tolist()]
    assert len(set(rows)) == 45
    assert data.name == "idx-30"


def test_fewer_training_examples_leave_validation_and_test_as_they_were(tmp_path):
    write(tmp_path)
    whole, few = idx(tmp_path, validation=15), idx(tmp_path, validation=15, train=9)
    assert torch.equal(whole.validation.inputs, few.validation.inputs)
    assert torch.equal(whole.test.inputs, few.test.inputs)
    assert len(few.train) == 9


def test_the_folder_may_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("KDSEARCH_DATA", str(write(tmp_path / "here")))
    assert len(idx(validation=15).test) == 12


def test_missing_files_are_named_with_where_they_were_looked_for(tmp_path):
    write(tmp_path)
    (tmp_path / TEST_LABELS).unlink()
    (tmp_path / TRAIN_IMAGES).unlink()
    with pytest.raises(Mistake) as found:
        idx(tmp_path, validation=15)
    said = str(found.value)
    assert f"lacks {TRAIN_IMAGES}[.gz], {TEST_LABELS}[.gz]" in said
    assert str(tmp_path) in said
    assert "--data" in said


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kept", [0, 3, 9, 40, -1])
def test_a_truncated_file_is_named(tmp_path, zipped, kept):
    write(tmp_path, zipped=zipped)
    path = tmp_path / (TRAIN_IMAGES + (".gz" if zipped else ""))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Mistake, match=rf"{TRAIN_IMAGES}.* (is truncated or altered|is no IDX file)"):
        idx(tmp_path, validation=15)


@pytest.mark.parametrize("position", [0, 12, 100])
def test_an_altered_archive_is_named(tmp_path, position):
    write(tmp_path, zipped=True)
    path = tmp_path / f"{TRAIN_IMAGES}.gz"
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(Mistake, match=rf"{TRAIN_IMAGES}\.gz is truncated or altered .*; fetch the original again"):
        idx(tmp_path, validation=15)


def test_bytes_after_the_end_are_refused(tmp_path):
    write(tmp_path)
    with (tmp_path / TEST_LABELS).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(Mistake, match=f"{TEST_LABELS} is truncated or altered: 21 bytes where its header promises 20"):
        idx(tmp_path, validation=15)


def test_another_format_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / TRAIN_LABELS).write_bytes(b"\x89PNG and so on")
    with pytest.raises(Mistake, match=r"no IDX file of unsigned bytes \(it begins with 89504e47\)"):
        idx(tmp_path, validation=15)


def test_images_and_labels_that_do_not_match_are_refused(tmp_path):
    write(tmp_path)
    (tmp_path / TRAIN_LABELS).write_bytes(encoded(np.arange(59) % 3))
    with pytest.raises(Mistake, match=r"images of shape \(60, 5, 4\) and labels of shape \(59,\) do not match"):
        idx(tmp_path, validation=15)


def test_other_images_are_not_taken_for_mnist(tmp_path):
    write(tmp_path / "MNIST" / "raw")
    with pytest.raises(Mistake, match=r"altered: its checksum is not the original's; .*idx\(\.\.\.\)"):
        mnist(tmp_path)


def test_more_validation_examples_than_there_are_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(Mistake, match="cannot take 10000 examples of 60; take 1 to 59"):
        idx(tmp_path)


def test_the_real_mnist(shared_data):
    data = mnist(shared_data, train=1000)
    assert [len(split) for split in data.splits().values()] == [1000, 10_000, 10_000]
    assert data.shape == (1, 28, 28)
    assert data.train.inputs.dtype == torch.uint8
    assert data.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # the shares of the 60,000: 5,923 zeros, 6,742 ones ... to within one example
    assert data.validation.labels.bincount().tolist()[:2] == [pytest.approx(n / 6, abs=1) for n in (5923, 6742)]


def test_the_real_fashion_mnist_in_a_folder_beside_mnist(shared_data):
    data = fashion_mnist(shared_data, train=1000)
    assert data.class_names[9] == "Ankle boot"
    assert data.test.labels[:5].tolist() == [9, 2, 1, 1, 6]


def test_torchvisions_layout_holds_mnist_and_fashion_mnist_side_by_side(shared_data, tmp_path):
    for ours, theirs in (("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")):
        (tmp_path / theirs).mkdir()
        (tmp_path / theirs / "raw").symlink_to(shared_data / ours)
    assert mnist(tmp_path, train=1000).test.labels[0] == 7
    assert fashion_mnist(tmp_path, train=1000).test.labels[0] == 9


def test_the_real_files_of_the_other_data_set_are_refused(shared_data):
    with pytest.raises(Mistake, match="checksum is not the original's"):
        fashion_mnist(shared_data / "mnist")
