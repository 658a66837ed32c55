"""Pictures to arrays: exact pixels, and nothing but one kind of error whatever the bytes are."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kdsearch.decoder import UnreadableError, decoded, reader

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def encoded(kind: str, **options) -> bytes:
    memory = io.BytesIO()
    Image.fromarray(PIXELS).save(memory, kind, **options)
    return memory.getvalue()


def exif() -> Image.Exif:
    note = Image.Exif()
    note[0x0112] = 3  # upside down
    return note


WHOLE = {
    "png": encoded("PNG"),
    "jpeg": encoded("JPEG"),
    "png, turned": encoded("PNG", exif=exif()),
    "jpeg, turned": encoded("JPEG", exif=exif()),
}


def test_channels_rows_and_columns_are_where_they_belong():
    assert np.array_equal(decoded(WHOLE.get, "png", False, None), PIXELS.transpose(2, 0, 1))
    assert np.array_equal(decoded(WHOLE.get, "png, turned", False, None), PIXELS[::-1, ::-1].transpose(2, 0, 1))
    assert decoded(WHOLE.get, "png", True, (4, 5)).shape == (1, 4, 5)


@pytest.mark.parametrize("kind", WHOLE)
@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 10_000))
def test_damaged_bytes_are_a_picture_or_unreadable(kind, changes, end):
    content = bytearray(WHOLE[kind])
    for place, value in changes:
        content[place % len(content)] = value
    damaged = bytes(content[: end % (2 * len(content)) + 1])
    try:
        pixels = decoded(lambda name: damaged, "x", False, None)
    except UnreadableError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[0] == 3


@settings(max_examples=150)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_damaged_members_of_a_zip_too(tmp_path_factory, place, change):
    path = tmp_path_factory.getbasetemp() / "some.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", WHOLE["png"])
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        directory = archive.start_dir  # damage to the directory is found when the names are listed
    content[place % directory] ^= change
    path.write_bytes(content)
    with reader(str(path)) as read:
        try:
            pixels = decoded(read, "a/1.png", False, None)
        except UnreadableError:
            return
    assert np.array_equal(pixels, PIXELS.transpose(2, 0, 1))  # the checksum vouches for them
