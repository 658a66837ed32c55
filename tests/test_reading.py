"""Files to a student's inputs: exact values by hand, and one clear message for whatever is no picture and no array."""

import io
import struct
import zipfile
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kdsearch.mistakes import Mistake
from kdsearch.reading import Taken, read
from tests.pictures import picture

BYTES = Taken.of(
    {"shape": [1, 6, 4], "dtype": "uint8", "low": 0, "high": 250, "mean": [[[100.0]]], "std": [[[50.0]]]}
    | {"vocabulary": None}
)
SIXTEEN = replace(BYTES, high=16.0)
COLOUR = replace(BYTES, shape=(3, 6, 4))
FLOATS = replace(COLOUR, dtype=torch.float32, low=-1.0, high=1.0)
TOKENS = replace(BYTES, shape=(5,), dtype=torch.int64, vocabulary=11)


@pytest.mark.parametrize(
    ("taken", "colour", "value"),
    [
        (BYTES, (200, 200, 200), 200),
        (SIXTEEN, (255, 255, 255), 16),
        (SIXTEEN, (128, 128, 128), 8),  # 16 * 128 / 255 = 8.03
        (SIXTEEN, (0, 0, 0), 0),
        (COLOUR, (7, 7, 7), 7),
        (FLOATS, (0, 0, 0), -1.0),
        (FLOATS, (255, 255, 255), 1.0),
        (FLOATS, (51, 51, 51), -0.6),
    ],
)
def test_black_and_white_are_the_least_and_the_greatest_of_the_training_data(tmp_path, taken, colour, value):
    picture(tmp_path / "a.png", colour)
    examples = read(tmp_path / "a.png", taken)
    assert (examples.inputs.shape, examples.several, examples.note) == ((1, *taken.shape), False, "")
    assert examples.inputs.float().flatten().tolist() == pytest.approx([value] * examples.inputs.numel())
    assert taken.stored(examples.inputs).dtype == taken.dtype


def test_pictures_of_other_channels_and_sizes_are_made_to_fit_and_that_is_said(tmp_path):
    picture(tmp_path / "grey.jpg", (90, 90, 90), (12, 8), mode="L")
    found = read(tmp_path / "grey.jpg", COLOUR)
    assert found.inputs.shape == (1, 3, 6, 4)
    assert found.note == "resized from 12x8 to 6x4 (HxW)"
    picture(tmp_path / "red.png", (255, 0, 0))
    assert read(tmp_path / "red.png", BYTES).inputs.unique().tolist() == [76]  # 0.299 of 255, as in training


def test_normalized_is_what_training_saw():
    inputs = torch.full((2, 1, 6, 4), 200, dtype=torch.uint8)
    assert BYTES.normalized(inputs).unique().tolist() == [2.0]  # (200 - 100) / 50
    assert TOKENS.normalized(torch.ones(2, 5, dtype=torch.uint8)).dtype == torch.int64
    with pytest.raises(Mistake, match="takes numbers of type uint8, got others, such as fractions"):
        BYTES.stored(torch.full((1, 1, 6, 4), 0.5))
    with pytest.raises(Mistake, match="takes numbers of type uint8"):
        BYTES.stored(torch.full((1, 1, 6, 4), 256.0))


def saved(path, array):
    np.save(path, array)
    return path


def test_one_example_and_several(tmp_path):
    one, several = np.ones((1, 6, 4), np.uint8), np.arange(72, dtype=np.uint8).reshape(3, 1, 6, 4)
    found = read(saved(tmp_path / "one.npy", one), BYTES)
    assert (found.inputs.shape, found.several) == ((1, 1, 6, 4), False)
    found = read(saved(tmp_path / "several.npy", several), BYTES)
    assert found.several
    assert np.array_equal(found.inputs.numpy(), several)
    np.savez_compressed(tmp_path / "x.npz", x=several, y=np.arange(3))
    assert np.array_equal(read(tmp_path / "x.npz", BYTES).inputs.numpy(), several)
    np.savez(tmp_path / "only.npz", any_name=np.asfortranarray(several).astype(">f4"))
    assert np.array_equal(read(tmp_path / "only.npz", BYTES).inputs.numpy(), several)
    tokens = np.array([[0, 1, 2, 3, 10]], np.uint16)
    assert read(saved(tmp_path / "tokens.npy", tokens), TOKENS).inputs.tolist() == tokens.tolist()


def test_values_that_look_scaled_are_doubted(tmp_path):
    doubted = read(saved(tmp_path / "a.npy", np.full((1, 6, 4), 0.5)), BYTES)
    assert doubted.note == "values of 0.5 to 0.5, where the training data have 0 to 250"
    assert read(saved(tmp_path / "b.npy", np.full((1, 6, 4), 120.5)), BYTES).note == ""


@pytest.mark.parametrize(
    ("array", "taken", "rule"),
    [
        (
            np.ones((6, 4)),
            BYTES,
            r"has shape \(6, 4\); this student takes numbers of shape \(1, 6, 4\), or several of ",
        ),
        (np.ones((0, 1, 6, 4)), BYTES, r"shape \(0, 1, 6, 4\)|cannot be read"),
        (np.full((1, 6, 4), np.nan), BYTES, "holds NaN, or values beyond"),
        (np.full((1, 6, 4), "a"), BYTES, "must hold numbers, got <U1"),
        (np.full((1, 6, 4), 1j), BYTES, "must hold numbers, got complex128"),
        (np.full((1, 6, 4), None), BYTES, "cannot be read as an array of numbers .*[Oo]bject"),
        (np.array([0, 1, 2, 3, 11]), TOKENS, r"must lie in 0\.\.10, got 11 in example 0 at position 4"),
        (np.array([[0, 1, 2, 3, -1]]), TOKENS, r"must lie in 0\.\.10, got -1"),
        (np.array([0.0, 1, 2, 3, 4]), TOKENS, "tokens must be integers"),
        (np.array([0, 1, 2, 3]), TOKENS, r"takes token numbers of shape \(5,\), or several of that \(N, 5\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, array, taken, rule):
    path = tmp_path / "a.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(Mistake, match=rule):
        read(path, taken)


def test_an_archive_must_say_which_array_is_meant(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.ones(3), b=np.ones(3))
    with pytest.raises(Mistake, match=r"holds 2 arrays \(a, b\) and none called x"):
        read(tmp_path / "two.npz", BYTES)
    np.savez(tmp_path / "objects.npz", x=np.full((1, 6, 4), None))
    with pytest.raises(Mistake, match=r"cannot be read as an array of numbers .*Object arrays"):
        read(tmp_path / "objects.npz", BYTES)
    np.savez(tmp_path / "none.npz")
    with pytest.raises(Mistake, match="holds 0 arrays"):
        read(tmp_path / "none.npz", BYTES)


def test_what_is_no_picture_is_refused(tmp_path):
    with pytest.raises(Mistake, match="there is no file"):
        read(tmp_path / "gone.png", BYTES)
    with pytest.raises(Mistake, match="there is no file"):
        read(tmp_path, BYTES)
    (tmp_path / "text.png").write_text("a cat")
    with pytest.raises(Mistake, match=r"cannot be read as a picture \(neither JPEG nor PNG\); convert it"):
        read(tmp_path / "text.png", BYTES)
    picture(tmp_path / "a.png")
    with pytest.raises(Mistake, match=r"takes token numbers of shape \(5,\) and no pictures"):
        read(tmp_path / "a.png", TOKENS)
    with pytest.raises(Mistake, match=r"takes numbers of shape \(24,\) and no pictures"):
        read(tmp_path / "a.png", replace(BYTES, shape=(24,)))


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path):
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 10) + b"IDAT")
    with pytest.raises(Mistake, match="larger than Pillow's limit of"):
        read(tmp_path / "bomb.png", BYTES)


def test_an_array_that_would_fill_the_memory_is_refused(tmp_path):
    memory = io.BytesIO()
    np.lib.format.write_array_header_1_0(memory, {"descr": "|u1", "fortran_order": False, "shape": (10**15, 1, 6, 4)})
    (tmp_path / "bomb.npy").write_bytes(memory.getvalue())
    with pytest.raises(Mistake, match="cannot be read as an array of numbers"):
        read(tmp_path / "bomb.npy", BYTES)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("x.npy", memory.getvalue())
    with pytest.raises(Mistake, match="cannot be read as an array of numbers"):
        read(tmp_path / "bomb.npz", BYTES)


def content(suffix: str) -> bytes:
    memory, array = io.BytesIO(), np.ones((2, 1, 6, 4), np.uint8)
    match suffix:
        case "npy":
            np.save(memory, array)
        case "npz":
            np.savez_compressed(memory, x=array)
        case _:
            Image.new("RGB", (4, 6)).save(memory, suffix)
    return memory.getvalue()


@pytest.mark.parametrize("suffix", ["npy", "npz", "png"])
@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 10_000))
def test_damaged_files_are_examples_or_one_clear_message(tmp_path_factory, suffix, changes, end):
    damaged = bytearray(content(suffix))
    for place, value in changes:
        damaged[place % len(damaged)] = value
    path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    path.write_bytes(damaged[: end % (2 * len(damaged)) + 1])
    try:
        examples = read(path, BYTES)
    except Mistake as mistake:
        said = str(mistake)
        assert str(path) in said
    else:
        assert examples.inputs.shape[1:] == BYTES.shape
