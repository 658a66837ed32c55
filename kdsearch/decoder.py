"""Turns pictures into rows of one array file: a program of its own, so that all cores decode at once.

Run by its path, with one job as JSON on standard input. It imports Pillow and NumPy alone and is there in a tenth of a
second; threads were slower than one (on pictures of CIFAR-10's size Pillow holds Python's lock most of the time).
What a line on standard output says is in `main`. Each line is shorter than a pipe writes at once, so that all decoders
share one pipe.
"""

import io
import json
import os
import signal
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

PROGRAM = Path(__file__)
FORMATS = ("JPEG", "PNG")
_MEMBER_BYTES = 2**28
"""A larger file inside a zip is taken for a bomb: it is read whole, and no picture within Pillow's limit needs it."""
_DEEP = ("I", "F")
_ORIENTATION = 0x0112
_UPRIGHT = 1
_TOLD_EVERY = 200
_REASON = 300
# what Pillow and zipfile raise for files that are cut off, altered, encrypted or packed in another way
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)

Read = Callable[[str], bytes]


class UnreadableError(Exception):
    """A file that is no picture, or none that can be shown with 8 bits a channel. The message is the reason."""


@contextmanager
def reader(source: str) -> Iterator[Read]:
    """Reads files by their names: below a folder, or inside a zip file."""
    if Path(source).is_dir():
        yield lambda name: Path(source, name).read_bytes()
        return
    with zipfile.ZipFile(source) as archive:

        def read(name: str) -> bytes:
            size = archive.getinfo(name).file_size
            if size > _MEMBER_BYTES:
                raise UnreadableError(f"{size:,} bytes long, more than the {_MEMBER_BYTES:,} that are read from a zip")
            return archive.read(name)

        yield read


def decoded(read: Read, name: str, grey: bool, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """The picture (C, H, W), C=3 or 1, turned as its EXIF note says; resized to `size` (H, W) where that is given.

    Colour is by Pillow's `convert`: grey pictures get three equal channels, transparency is dropped. Raises
    `UnreadableError`.
    """
    return sized(read, name, grey, size)[0]


def sized(read: Read, name: str, grey: bool, size: tuple[int, int] | None) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The picture as by `decoded`, and the (H, W) that it had. Raises `UnreadableError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(read(name)), formats=FORMATS) as opened:
                if opened.mode.startswith(_DEEP):
                    raise UnreadableError(f"of Pillow's mode {opened.mode}, more than 8 bits a channel")
                opened.load()  # a PNG may have its EXIF note behind the pixels
                turned = opened.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT
                image = (ImageOps.exif_transpose(opened) if turned else opened).convert("L" if grey else "RGB")
    except UnidentifiedImageError:
        raise UnreadableError(f"neither {' nor '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableError(f"larger than Pillow's limit of {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except _DAMAGE as error:
        raise UnreadableError(str(error) or type(error).__name__) from None
    before = (image.height, image.width)
    if size is not None and before != size:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, reducing_gap=3.0)
    pixels = np.asarray(image)
    return pixels[None] if grey else pixels.transpose(2, 0, 1), before


def main() -> None:
    """Do the job {source, names, rows, shape, resize, grey, file, offset} and tell, a JSON object a line:
    {"done": pictures since the last line}, {"row", "unreadable": reason}, or, as the last, {"row", "size": [H, W]} for
    a picture of another size than `shape` (C, H, W), {"row", "failed": reason} where the file cannot be written.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; who started this one ends it
    job: dict[str, Any] = json.load(sys.stdin)
    with reader(job["source"]) as read, Path(job["file"]).open("r+b", buffering=0) as file:
        for line in _work(job, read, file.fileno()):
            os.write(sys.stdout.fileno(), (json.dumps(line) + "\n").encode())


def _work(job: dict[str, Any], read: Read, file: int) -> Iterator[dict[str, Any]]:
    shape = tuple(job["shape"])
    size = (shape[1], shape[2]) if job["resize"] else None
    done = 0
    for row, name in zip(job["rows"], job["names"], strict=True):
        try:
            pixels = decoded(read, name, job["grey"], size)
            if pixels.shape != shape:
                yield {"row": row, "size": pixels.shape[1:]}
                return
            os.pwrite(file, pixels.tobytes(), job["offset"] + row * pixels.size)
        except UnreadableError as error:
            yield {"row": row, "unreadable": str(error)[:_REASON]}
        except OSError as error:
            yield {"row": row, "failed": str(error.strerror)}
            return
        done += 1
        if done % _TOLD_EVERY == 0:
            yield {"done": _TOLD_EVERY}
    yield {"done": done % _TOLD_EVERY}


if __name__ == "__main__":
    main()
