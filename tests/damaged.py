"""Ways in which a file on a disk goes wrong, for tests: seeded, so that each does the same every time."""

import random
from pathlib import Path


def flip(path: Path, seed: int) -> None:
    """Turn one bit of a byte at a random place."""
    content = bytearray(path.read_bytes())
    place = random.Random(seed).randrange(len(content))
    content[place] ^= 1 << seed % 8
    path.write_bytes(content)


def truncate(path: Path, seed: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: random.Random(seed).randrange(1, len(content))])


def zero(path: Path, seed: int) -> None:
    """A block that came to the disk as zeros, as after a power cut."""
    content = bytearray(path.read_bytes())
    begin = random.Random(seed).randrange(len(content))
    content[begin:] = bytes(len(content) - begin)
    path.write_bytes(content)


def empty(path: Path, seed: int) -> None:
    path.write_bytes(b"")


DAMAGES = {"flip": flip, "truncate": truncate, "zero": zero, "empty": empty}
