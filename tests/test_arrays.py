"""Data of the user's own from .npz files."""

import numpy as np
import pytest
import torch

from kdsearch.data import arrays
from kdsearch.mistakes import Mistake

Y = np.arange(60) % 3
X = np.random.default_rng(0).integers(0, 255, (60, 1, 6, 5), dtype=np.uint8)


def saved(folder, **parts):
    path = folder / "mine.npz"
    np.savez(path, **parts)
    return path


def test_x_and_y_are_split_stratified(tmp_path):
    data = arrays(saved(tmp_path, x=X, y=Y))
    assert data.name == "mine"
    # a fifth for test, then a fifth of the other 48
    assert [len(split) for split in data.splits().values()] == [38, 10, 12]
    assert data.test.labels.bincount().tolist() == [4, 4, 4]
    rows = [tuple(row) for split in data.splits().values() for row in split.inputs.flatten(1).tolist()]
    assert sorted(rows) == sorted(map(tuple, X.reshape(60, -1).tolist()))


def test_inputs_keep_their_labels(tmp_path):
    x = X.copy()
    x[:, 0, 0, 0] = Y
    for split in arrays(saved(tmp_path, x=x, y=Y)).splits().values():
        assert torch.equal(split.inputs[:, 0, 0, 0].long(), split.labels)


def test_splits_that_the_file_has_are_kept_as_they_are(tmp_path):
    path = saved(
        tmp_path,
        x_train=X[:30],
        y_train=Y[:30],
        x_validation=X[30:45],
        y_validation=Y[30:45],
        x_test=X[45:],
        y_test=Y[45:],
    )
    data = arrays(path)
    assert torch.equal(data.train.inputs, torch.from_numpy(X[:30]))
    assert torch.equal(data.validation.labels, torch.from_numpy(Y[30:45]))
    assert torch.equal(data.test.inputs, torch.from_numpy(X[45:]))


def test_kerass_mnist_file_fits_as_it_is(tmp_path):
    data = arrays(saved(tmp_path, x_train=X[:48, 0], y_train=Y[:48].astype(np.uint8), x_test=X[48:, 0], y_test=Y[48:]))
    assert data.shape == (1, 6, 5)
    assert [len(split) for split in data.splits().values()] == [38, 10, 12]
    assert data.train.labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        (np.uint8, torch.uint8),
        (np.int16, torch.float32),
        (np.float16, torch.float32),
        (np.float64, torch.float32),
        (">f4", torch.float32),
    ],
)
def test_bytes_stay_compact_and_other_numbers_become_float32(tmp_path, kind, kept):
    data = arrays(saved(tmp_path, x=X.astype(kind), y=Y))
    assert data.train.inputs.dtype == kept
    assert data.normalize(data.train.inputs).mean().item() == pytest.approx(0, abs=1e-4)


def test_flat_inputs_stay_flat(tmp_path):
    assert arrays(saved(tmp_path, x=X.reshape(60, -1), y=Y)).shape == (30,)


def test_fortran_order_is_read_right(tmp_path):
    data = arrays(
        saved(tmp_path, x_train=np.asfortranarray(X), y_train=Y, x_test=X, y_test=Y, x_validation=X, y_validation=Y)
    )
    assert torch.equal(data.train.inputs, data.test.inputs)


def test_a_relative_path_is_looked_up_in_the_data_folder(tmp_path, monkeypatch):
    saved(tmp_path, x=X, y=Y)
    monkeypatch.setenv("KDSEARCH_DATA", str(tmp_path))
    assert len(arrays("mine.npz").test) == 12


def test_object_arrays_are_refused_and_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    path = saved(tmp_path, x=np.array([Trap()] * 60, dtype=object), y=Y)
    (tmp_path / "sprung").unlink(missing_ok=True)
    with pytest.raises(Mistake, match=r"cannot be read as an .npz file of plain arrays .*; save it with numpy\.savez"):
        arrays(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and no more"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    with pytest.raises(Mistake, match=r"mine\.npz cannot be read as an \.npz file"):
        arrays(path)


def test_a_truncated_archive_is_refused(tmp_path):
    path = saved(tmp_path, x=X, y=Y)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(Mistake, match=r"mine\.npz cannot be read as an \.npz file"):
        arrays(path)


@pytest.mark.parametrize(("offset", "said"), [(8, "compression method"), (4, "zip file version")])
def test_an_archive_packed_in_an_unknown_way_is_refused(tmp_path, offset, said):
    np.savez(tmp_path / "mine.npz", x=np.zeros((4, 2)), y=np.array([0, 1, 0, 1]))
    content = bytearray((tmp_path / "mine.npz").read_bytes())
    for entry in (b"PK\1\2", b"PK\3\4"):
        ahead = 2 if entry == b"PK\1\2" else 0  # the directory has a version more
        at = content.index(entry) + offset + ahead
        content[at] = 99
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(Mistake, match=said):
        arrays(tmp_path / "mine.npz")


def test_one_array_without_a_name_is_refused(tmp_path):
    np.save(tmp_path / "mine.npy", X)
    with pytest.raises(Mistake, match=r"one array without a name.*; save it with numpy\.savez"):
        arrays(tmp_path / "mine.npy")


def test_a_missing_file_says_what_is_wanted(tmp_path):
    with pytest.raises(Mistake, match=r"there is no file .*gone\.npz; give the path of an \.npz file with x and y"):
        arrays(tmp_path / "gone.npz")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"x": X}, "lacks y; it needs x and y; or .* and has: x"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "lacks y_test"),
        ({"images": X, "y": Y}, "lacks x_test, x_train, y_test, y_train; .* has: images, y"),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y, "x_validation": X},
            "only one of x_validation and y_validation; give both or neither",
        ),
        ({"x": X, "y": Y[:59]}, "x has 60 rows, y 59; they must match"),
        ({"x": X, "y": Y.astype(float)}, r"y must be integers of shape \(N,\), got float64"),
        ({"x": X, "y": np.eye(3, dtype=int)[Y]}, r"y must be integers of shape \(N,\), got int64 of shape \(60, 3\)"),
        ({"x": X.astype(str), "y": Y}, "x must be numbers of shape"),
        ({"x": Y, "y": Y}, r"x must be numbers of shape .* got int64 of shape \(60,\)"),
        ({"x": np.zeros((60, 8, 8, 3)), "y": Y}, r"channels last; kdsearch wants \(N, C, H, W\): transpose"),
        ({"x": np.full((60, 4), np.nan), "y": Y}, "x holds NaN or infinite values; replace them first"),
        ({"x": X, "y": Y + 1}, "no example of class 0"),
        ({"x": X, "y": Y - 1}, r"must lie in 0\.\.1, got -1"),
        ({"x_train": X, "y_train": Y, "x_test": X[:2], "y_test": Y[:2]}, "split 'test' has no example of class 2"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, parts, said):
    with pytest.raises(Mistake, match=said):
        arrays(saved(tmp_path, **parts))


@pytest.mark.parametrize("name", ["validation", "test"])
@pytest.mark.parametrize("fraction", [0, 1, -0.5, 12])
def test_fractions_lie_between_zero_and_one(tmp_path, name, fraction):
    with pytest.raises(Mistake, match=f"{name} must be a fraction between 0 and 1, got {fraction}"):
        arrays(saved(tmp_path, x=X, y=Y), **{name: fraction})
