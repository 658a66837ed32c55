"""CIFAR's binary files, in small: 20 examples a file instead of 10,000."""

import tarfile

import numpy as np
import pytest
import torch

from kdsearch.data import cifar, cifar10, cifar100
from kdsearch.mistakes import Mistake

EXAMPLES = 20


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(cifar, "_EXAMPLES", EXAMPLES)


def rows(labels, seed=0):
    """Labels (N, L) before the red, green and blue planes; red counts the rows."""
    labels = np.asarray(labels, np.uint8)
    pixels = np.zeros((len(labels), 3, 32, 32), np.uint8)
    pixels[:, 0] = np.arange(len(labels))[:, None, None] + seed
    pixels[:, 1, 0, :] = 77  # the top row is green
    return np.concatenate([labels.reshape(len(labels), -1), pixels.reshape(len(labels), -1)], axis=1).tobytes()


@pytest.fixture
def ten(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for k in range(1, 6):
        (folder / f"data_batch_{k}.bin").write_bytes(rows(np.arange(EXAMPLES) % 10, seed=k * 20))
    (folder / "test_batch.bin").write_bytes(rows(np.arange(EXAMPLES)[::-1] % 10))
    (folder / "batches.meta.txt").write_text("\n".join(f"name{k}" for k in range(10)) + "\n\n")
    return folder


@pytest.fixture
def hundred(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    fine = np.arange(EXAMPLES * 5) % 100
    (folder / "train.bin").write_bytes(rows(np.stack([fine // 5, fine], axis=1)))
    fine = np.arange(EXAMPLES) * 5
    (folder / "test.bin").write_bytes(rows(np.stack([fine // 5, fine], axis=1)))
    (folder / "fine_label_names.txt").write_text("\n".join(f"fine{k}" for k in range(100)))
    (folder / "coarse_label_names.txt").write_text("\n".join(f"coarse{k}" for k in range(20)))
    return folder


def test_planes_and_labels_land_where_they_belong(ten, tmp_path):
    data = cifar10(tmp_path, validation=20)
    assert (data.name, data.shape, data.class_names[9]) == ("cifar10", (3, 32, 32), "name9")
    assert [len(split) for split in data.splits().values()] == [80, 20, 20]
    assert data.test.labels.tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0] * 2
    assert data.test.inputs[:, 0, 5, 5].tolist() == list(range(20))
    assert data.test.inputs[0, 1].nonzero()[:, 0].unique().tolist() == [0]
    # the five files' rows are all there, once: red is 20 to 119
    red = torch.cat([data.train.inputs, data.validation.inputs])[:, 0, 0, 0]
    assert sorted(red.tolist()) == list(range(20, 120))


def test_the_archive_as_downloaded_gives_the_same(ten, tmp_path):
    unpacked = cifar10(tmp_path, validation=20).fingerprint
    (tmp_path / "other" / "cifar10").mkdir(parents=True)
    with tarfile.open(tmp_path / "other" / "cifar10" / "cifar-10-binary.tar.gz", "w:gz") as packed:
        packed.add(ten, ten.name)
    assert cifar10(tmp_path / "other", validation=20).fingerprint == unpacked
    assert cifar10(ten, validation=20).fingerprint == unpacked  # named itself


def test_a_truncated_archive_is_named(ten, tmp_path):
    path = tmp_path / "other" / "cifar-10-binary.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as packed:
        packed.add(ten, ten.name)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Mistake, match=r"cifar-10-binary\.tar\.gz is truncated or altered"):
        cifar10(path.parent, validation=20)


def test_coarse_and_fine_labels_are_not_confused(hundred, tmp_path):
    data = cifar100(tmp_path, coarse=True, validation=40)
    assert (data.classes, data.class_names[19]) == (20, "coarse19")
    assert data.test.labels.tolist() == list(range(20))
    with pytest.raises(Mistake, match="cannot hold all 100 classes"):  # 100 examples cannot be split by 100 classes
        cifar100(tmp_path, validation=40)


@pytest.mark.parametrize("pickled", ["cifar-10-batches-py", "cifar-10-python.tar.gz"])
def test_the_python_version_is_refused_with_the_way_out(tmp_path, pickled):
    (tmp_path / pickled).mkdir()
    with pytest.raises(Mistake, match=r"python version.* fetch the binary version.* kdsearch download cifar10"):
        cifar10(tmp_path)


def test_nothing_there_says_where_it_looked(tmp_path):
    with pytest.raises(Mistake, match=r"lacks cifar-100-binary/ and cifar-100-binary\.tar\.gz \(looked in it"):
        cifar100(tmp_path)


def test_what_does_not_fit_is_named(ten, tmp_path):
    whole = (ten / "data_batch_3.bin").read_bytes()
    (ten / "data_batch_3.bin").write_bytes(whole[:-1])
    with pytest.raises(Mistake, match=r"data_batch_3\.bin is truncated or altered: 61,459 bytes, .* 61,460"):
        cifar10(tmp_path, validation=20)
    (ten / "data_batch_3.bin").write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(Mistake, match="label 10 of 10"):
        cifar10(tmp_path, validation=20)
    (ten / "data_batch_3.bin").unlink()
    with pytest.raises(Mistake, match=r"lacks data_batch_3\.bin"):
        cifar10(tmp_path, validation=20)
    (ten / "batches.meta.txt").write_text("cat\ndog\n")
    with pytest.raises(Mistake, match=r"batches\.meta\.txt names 2 classes, not 10"):
        cifar10(tmp_path, validation=20)
