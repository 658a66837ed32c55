"""A local worker process: ends when its driver is gone, loads the study with its first segment, runs segments."""

import contextlib
import json
import os
import signal
import socket
import threading
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

EVENTS = "events"
STOP = "stop"

_state: dict[str, Any] = {}


def enter(pickled_job: bytes, private: str) -> None:
    """Pool initializer. The study is loaded with the first segment, where what goes wrong can be told."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _state.update(pickled_job=pickled_job, private=Path(private))


def warm_up() -> None:
    """Load what every segment needs. What goes wrong is told with the first segment."""
    from kdsearch.mistakes import Mistake

    with contextlib.suppress(Mistake):
        _set_up()


def work(pickled_segment: bytes) -> bytes:
    """Run a segment; gives a pickled Progress, Failed, or the Mistake that keeps this worker from working at all."""
    import cloudpickle

    from kdsearch.mistakes import Mistake

    try:
        _set_up()
    except Mistake as mistake:
        return bytes(cloudpickle.dumps(mistake))

    from kdsearch.executors.base import run_segment
    from kdsearch.training import Epoch

    segment = cloudpickle.loads(pickled_segment)
    stop: Path = _state["private"] / STOP

    def on_epoch(line: Epoch) -> bool:
        _report({"trial": segment.trial, "line": line})
        return stop.exists()

    return bytes(cloudpickle.dumps(run_segment(segment, _state["data"], _state["signals"], on_epoch)))


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


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
