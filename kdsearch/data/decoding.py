"""Has the pictures of a folder or a zip decoded by all cores into one array file, with progress on standard error."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from kdsearch.data.bar import bar
from kdsearch.decoder import PROGRAM, UnreadableError, decoded, reader
from kdsearch.mistakes import Mistake

_FOR_EACH = 500
"""So many pictures at least keep a process busy for longer than it takes to start."""


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode(source: Path, names: list[str], to: Path, *, grey: bool, size: tuple[int, int] | None) -> dict[int, str]:
    """Write the pictures `names` of `source`, in this order, as uint8 (N, C, H, W) to the .npy file `to`.

    Returns the reason for each row whose file cannot be read, which is left black; at least one can. Raises `Mistake`
    where no file can be read, or where sizes differ and no `size` (H, W) is given.
    """
    first = _first(source, names, grey, size)
    array = np.lib.format.open_memmap(to, mode="w+", dtype=np.uint8, shape=(len(names), *first))
    offset = array.offset
    del array  # the file is as long as it has to be, and the decoders write into it
    job = {"source": str(source), "shape": first, "resize": size is not None, "grey": grey}
    job |= {"file": str(to), "offset": offset}
    unreadable: dict[int, str] = {}
    with bar(f"decoding {source.name}, once", len(names), "pictures") as advance, _decoders(job, names) as lines:
        for line in lines:
            if "done" in line:
                advance(line["done"])
            elif "unreadable" in line:
                unreadable[line["row"]] = line["unreadable"]
            elif "size" in line:
                raise _differ(source, names, line, first)
            else:
                raise Mistake(f"cannot write {to.parent} ({line['failed']}); name another folder by KDSEARCH_CACHE")
    return dict(sorted(unreadable.items()))


def _first(source: Path, names: list[str], grey: bool, size: tuple[int, int] | None) -> tuple[int, ...]:
    """The shape (C, H, W) of the first picture that can be read."""
    reason = ""
    with reader(str(source)) as read:
        for name in names:
            try:
                return decoded(read, name, grey, size).shape
            except UnreadableError as error:
                reason = reason or f"{name} is {error}"
    raise Mistake(f"{source}: none of its {len(names)} pictures can be read; {reason}")


def _differ(source: Path, names: list[str], line: dict[str, Any], first: tuple[int, ...]) -> Mistake:
    height, width = line["size"]
    return Mistake(
        f"{source}: all pictures must have one size; {names[line['row']]} is {height}x{width} (HxW), others are "
        f"{first[1]}x{first[2]}: give size=(H, W) to have them resized"
    )


@contextmanager
def _decoders(job: dict[str, Any], names: list[str]) -> Iterator[Iterator[dict[str, Any]]]:
    """Start the processes; gives what they tell, until all have ended well. They do not outlive the context."""
    count = max(1, min(cores(), len(names) // _FOR_EACH))
    receive, send = os.pipe()
    running: list[subprocess.Popen[bytes]] = []
    try:
        try:
            for k in range(count):
                running.append(
                    _start({**job, "rows": list(range(k, len(names), count)), "names": names[k::count]}, send)
                )
        finally:
            os.close(send)  # the pipe ends with the last process
        with os.fdopen(receive, "rb") as pipe:
            yield (json.loads(line) for line in pipe)
        for process in running:
            if status := process.wait():
                raise RuntimeError(f"a process that decodes pictures ended with exit status {status}")
    finally:
        for process in running:
            process.kill()
            process.wait()


def _start(job: dict[str, Any], send: int) -> "subprocess.Popen[bytes]":
    # by its path, and without the path's folder among the modules: it needs nothing of kdsearch
    command = [sys.executable, "-P", str(PROGRAM)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=send)  # noqa: S603 - our own program
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as stdin:  # one that ended at once has its exit status told
        stdin.write(json.dumps(job).encode())
    return process
