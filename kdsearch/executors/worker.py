"""What a local worker process does: loads the study, runs segments as they come, tells of their epochs."""

import contextlib
import json
import socket
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdsearch.training import Epoch
    from kdsearch.trial import Failed, Progress, Segment

EVENTS = "events"
STOP = "stop"

_state: dict[str, Any] = {}


def main(connection: Connection, pickled_job: bytes, private: str) -> None:
    """Run segments, pickled, as they come through `connection`, until its other end is closed."""
    _state.update(pickled_job=pickled_job, private=Path(private))
    _warm_up()
    with contextlib.suppress(EOFError):
        while True:
            connection.send_bytes(work(connection.recv_bytes()))


def _warm_up() -> None:
    """Load what every segment needs. What goes wrong is told with the first segment, which tries again."""
    with contextlib.suppress(Exception):
        _set_up()


def work(pickled_segment: bytes) -> bytes:
    """Run a segment; gives a pickled Progress, Failed, or what keeps this worker from working at all: a Mistake, or an
    error of our own, for the driver to raise.
    """
    import cloudpickle

    try:
        _set_up()  # a segment can be read where the study's own classes are known
        return bytes(cloudpickle.dumps(_worked(cloudpickle.loads(pickled_segment))))
    except Exception as error:
        error.add_note(traceback.format_exc())
        return bytes(cloudpickle.dumps(error))


def _worked(segment: "Segment") -> "Progress | Failed":
    from kdsearch.executors.base import run_segment

    stop: Path = _state["private"] / STOP

    def on_epoch(line: "Epoch") -> bool:
        _report({"trial": segment.trial, "line": line})
        return stop.exists()

    return run_segment(segment, _state["data"], _state["signals"], on_epoch)


def _set_up() -> None:
    if "data" in _state:
        return
    import cloudpickle
    import torch

    from kdsearch.executors.base import load_job

    torch.set_num_threads(1)
    _, _state["data"], _state["signals"] = load_job(cloudpickle.loads(_state["pickled_job"]))
    _state["socket"] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    _state["socket"].setblocking(False)


def _report(message: dict[str, Any]) -> None:
    try:
        _state["socket"].sendto(json.dumps(message).encode(), str(_state["private"] / EVENTS))
    except (BlockingIOError, FileNotFoundError, ConnectionRefusedError):
        return  # a driver that is busy or gone misses a line of progress; the segment's result carries them all
